// Package led is the PHY over a board with an LED and a photodiode: one station
// in a light field, bursts in, events out.
//
//	Transmit ─ line.Encoder ─ bodies ─ TX messages ─ credit ─ Port ═ serial line ═ board ─ light
//	Receive  ─ line.Decoder ─ Heard  ─ RX messages ─ parser ─ Port ═══════════════ board ─ light
//
// The serial line speaks firmware/PROTOCOL.md. A board may be unplugged at any
// time: the PHY stays, opens the line again when the device is back under its
// path, and meanwhile refuses to send. It never lists ports, which would disturb
// boards in use, and never waits for a board that has stopped reading: such a one
// is reset.
//
// The medium is busy while a light frame comes in or more of a burst is due. The
// board itself also waits for any carrier to end before it begins a burst.
//
// The goroutines: one keeps the connection, one reads the line, one writes it.
// The decoder belongs to Receive, the encoder to Transmit.
//
// What a Port is, is left open: a serial device (Serial), or an emulated board in
// simulated time. A second kind of board, without a microcontroller, would share
// Port and the supervision, and have a line code of its own.
package led
