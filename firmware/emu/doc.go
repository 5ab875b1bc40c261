// Package emu runs boards without boards: the real image of the firmware in as
// many simulated microcontrollers as wanted, or the firmware built for this machine,
// joined by simulated light, in simulated time.
//
// The work is done by a C program (boards/rig.c, with boards of libsimavr or of its
// own) that Rig starts and leads step by step through a pair of pipes:
//
//	Host ── octets ──▶ Rig.Step ──▶ USB frame ──▶ UART, cycle by cycle ──▶ image ──▶ light
//	                                                                                  │
//	Host ◀─ frames ──────────────── USB frame ◀── UART ◀───────────────── image ◀─────┘
//
// Host is the other end of the serial protocol (../PROTOCOL.md), written from
// that document: frames, credits, speed.
//
// The package never looks at the clock on the wall and never touches a real
// board. The same seed gives the same run. What it measures is what the image
// does with edges of a given quality; it has no analogue front end, so it says
// nothing about range.
package emu
