// Package link is the data link: it carries IP packets between any number of
// stations that share one medium, over bursts that may be lost, with frames that
// may be lost within them.
//
//	host ─ EnqueuePacket ─▶ route ─▶ flow queues ─▶ headers, content ─▶ fragments ─▶ frames ─▶ parity ─┐
//	       packet.go        peer.go   queue.go       header/  payload/   send.go               rate.go  │ NextBurst, access.go
//	                                                                                                   ▼
//	                                                 acknowledgements, repetition ◀─ reports         phy.PHY
//	                                                                                                   │
//	host ◀─ NextPacket ─ content, headers ◀─ order ◀─ reassembly ◀─ fragments ◀─ repair ◀─ frames ◀─────┘ HandleEvent
//	                     payload/ header/    receive.go
//
// Engine is the whole protocol as a machine without I/O: its methods take the
// time, and it owns no goroutine, clock or descriptor. Runner (run.go) gives it
// a phy.PHY, a Host and the clock, which waits for a medium that stands still
// (clock.go); its goroutines are the only ones here.
//
// The other rooms: control.go and fragment.go are the wire format
// (docs/wire-link.md), access.go says when a station may send, discover.go who
// is there, rate.go in which mode and with how much parity, insert.go what goes in the middle of a burst. codel.go decides when
// a queue is too long, segment.go which TCP segments others make needless.
//
// The package never knows a device, a waveform or the host's network
// configuration; it neither encrypts nor authenticates. What arrives from the
// medium is not trusted: it is counted when it makes no sense, and what it can
// make a station keep is bounded.
package link
