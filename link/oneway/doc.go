// Package oneway carries one file from one station to any number of others,
// with no way back: what is lost is repaired from parity frames, or by sending
// the whole once more.
//
//	file ─► Sender ─► bursts ─► (a modem, a medium) ─► bursts ─► Receiver ─► Store ─► File
//
// What is sent is the record: the octets of the file, its SHA-256 and its name.
// The record is cut into data frames; Reed-Solomon parity frames follow. Frame
// number i belongs to block i mod B, so every block is spread over the whole
// transfer, and an outage costs each block the same small share. Each frame
// carries its number, each burst's control block the dimensions of the
// transfer: bursts may come in any order, twice, from several loops of the
// sender, and a frame whose control block was lost still finds its place.
// docs/oneway.md gives the octets.
//
// Like link.Engine the package is a machine: no goroutine, no clock, no
// descriptor. The sender reads the file through an io.ReaderAt that it is given;
// the receiver puts frames into a Store that it is given, in their final place,
// and holds in memory only one bit per frame. It never asks the sender for
// anything, never hands out a file whose SHA-256 does not match, and counts what
// is damaged, foreign or hostile instead of failing.
package oneway
