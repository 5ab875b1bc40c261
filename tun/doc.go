// Package tun is the host side of a link: a TUN device with its addresses, MTU,
// routes and carrier.
//
//	kernel ◀─ netlink: addresses, MTU, routes, up ── Open
//	kernel ─ packet ─▶ ReadPacket      WritePacket ─ packet ─▶ kernel
//	kernel ◀─ carrier ── SetCarrier
//
// Open creates the device, or attaches to one that was made beforehand (by
// `ip tuntap add`, by systemd-networkd) and changes only what differs from the
// Config. Close undoes what Open did: a created device disappears, a prepared
// one stays as it was found. The package knows nothing of the link.
package tun
