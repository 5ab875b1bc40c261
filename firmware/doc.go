// Package firmware holds no Go code but its tests: that PROTOCOL.md tells the
// truth, that the portable core stands under sanitizers, and that the images
// come out the same wherever they are built.
//
// The rooms:
//
//	PROTOCOL.md   the serial protocol between host and board, and the light
//	core/         the protocol, the line codes and the board with one LED in portable C
//	avr/          the chip: ATmega328P, its loops in assembler
//	emu/          boards in simavr, or on this machine, joined by light; the host's end in Go
package firmware
