// Package header compresses the headers of IP packets between two stations: TCP
// with timestamps and selective acknowledgements, UDP and ICMP echo, over IPv4
// and IPv6. Everything else passes as it is.
//
//	packet ─▶ Compressor.Compress ─▶ frames of the link ─▶ Decompressor.Decompress ─▶ the same packet
//	              ▲                                               │
//	              └──── Delivered: the link's acknowledgement     └ ErrContext ─▶ Invalidate, over the link's control block
//
// It is a scheme in the manner of ROHC (RFC 5795, RFC 6846), made for a link
// that repeats what was lost and keeps the order within a flow, but that may also
// give a packet up. A flow has a context on both sides: the header of the packet
// before. A packet refers to it in two ways.
//
//   - Numbers that grow (TCP sequence numbers and timestamps, IPv4 identifiers)
//     are sent as their least significant bits, with as many bits as identify them
//     from every packet that the other side may have seen last (window-based LSB,
//     RFC 3095 §4.5.2): from the newest that was acknowledged to the last one sent.
//   - What rarely changes (TTL, traffic class, TCP window, option layout) is left
//     out once a packet with its present value was acknowledged.
//
// So it does not matter which packets are lost between two acknowledgements, and
// nothing that is lost does damage beyond itself. Lengths and checksums are not
// sent but computed: the Compressor compresses only what comes out again to the
// bit. A CRC over the whole original header, its checksums included, guards
// against what should not happen; a context that fails is not used again before
// its next full header.
//
// Without acknowledgements (broadcast) a change is sent in several packets, full
// headers come again and again, and the guard is a CRC of 16 bits and the
// transport checksum.
//
// Nothing here knows time or does I/O. In steady flow nothing is allocated.
// docs/wire-link.md has the format.
package header
