package emu

import (
	"encoding/binary"
	"time"
)

// Types of message, as PROTOCOL.md numbers them.
const (
	Hello      = 0x01
	Baud       = 0x02
	Configure  = 0x03
	TX         = 0x04
	Stats      = 0x05
	Echo       = 0x06
	PRBS       = 0x07
	Sense      = 0x08
	Credit     = 0x09
	Reset      = 0x0A
	Info       = 0x81
	BaudAnswer = 0x82
	Ack        = 0x83
	TXDone     = 0x84
	StatsTold  = 0x85
	EchoTold   = 0x86
	PRBSTold   = 0x87
	SenseTold  = 0x88
	CreditTold = 0x89
	RX         = 0x90
	Error      = 0xFF
)

const (
	mark   = 0x7C
	escape = 0x7D
	flag   = 0x7E

	markOctets = 64
	reserve    = 16 // octets of the window kept for a question about credit
)

// Frame is a message from a board.
type Frame struct {
	At      time.Duration // simulated time at which the host read its last octet
	Content []byte        // type and fields; the check is gone
}

// Type is the message's type.
func (f Frame) Type() byte { return f.Content[0] }

// Host is the host's end of one serial line.
type Host struct {
	Frames []Frame // heard and not yet taken; the reader empties it
	Bad    int     // frames whose check failed

	out     []byte // waits for credit
	window  int    // 0 before INFO
	sent    int    // octets since INFO
	granted int    // octets consumed, as far as marks and CREDIT told
	content []byte
	escaped bool
}

func newHost() *Host { return &Host{} }

// CRC is CRC-16/X-25.
func CRC(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x8408
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}

// AppendFrame appends content as a frame, flags, check and escapes included.
func AppendFrame(dst, content []byte) []byte {
	dst = append(dst, flag)
	dst = appendEscaped(dst, content)
	dst = appendEscaped(dst, binary.LittleEndian.AppendUint16(nil, CRC(content)))
	return append(dst, flag)
}

func appendEscaped(dst, b []byte) []byte {
	for _, v := range b {
		if v >= mark && v <= flag {
			dst = append(dst, escape)
			v ^= 0x20
		}
		dst = append(dst, v)
	}
	return dst
}

// TXContent is the content of a TX message.
func TXContent(seq, rate, patience byte, start int, body []byte) []byte {
	b := []byte{TX, seq, rate, patience}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(body)))
	b = binary.LittleEndian.AppendUint16(b, uint16(start))
	b = binary.LittleEndian.AppendUint16(b, CRC(b))
	return append(b, body...)
}

// Say queues a message.
func (h *Host) Say(content ...byte) { h.out = AppendFrame(h.out, content) }

// SayRaw queues octets as they are.
func (h *Host) SayRaw(b []byte) { h.out = append(h.out, b...) }

// Queued is the number of octets that wait for credit.
func (h *Host) Queued() int { return len(h.out) }

// Send queues a light frame.
func (h *Host) Send(seq, rate, patience byte, start int, body []byte) {
	h.Say(TXContent(seq, rate, patience, start, body)...)
}

func (h *Host) take(most int) []byte {
	n := min(len(h.out), most)
	if h.window > 0 {
		n = min(n, max(0, h.window-reserve-(h.sent-h.granted)))
	}
	out := h.out[:n]
	h.out = h.out[n:]
	h.sent += n
	return out
}

func (h *Host) hear(now time.Duration, in []byte) {
	for _, v := range in {
		switch {
		case v == mark:
			h.granted += markOctets
		case v == flag:
			h.end(now)
		case v == escape:
			h.escaped = true
		case h.escaped:
			h.escaped = false
			h.content = append(h.content, v^0x20)
		default:
			h.content = append(h.content, v)
		}
	}
}

func (h *Host) end(now time.Duration) {
	content := h.content
	h.content, h.escaped = nil, false
	if len(content) == 0 {
		return
	}
	n := len(content) - 2
	if n < 1 || CRC(content[:n]) != binary.LittleEndian.Uint16(content[n:]) {
		h.Bad++
		return
	}
	content = content[:n]
	switch {
	case content[0] == Info && n >= 18:
		h.window = int(binary.LittleEndian.Uint16(content[16:]))
		h.sent, h.granted = 0, 0
	case content[0] == CreditTold && n == 3:
		low := binary.LittleEndian.Uint16(content[1:])
		h.granted = h.sent - int(uint16(h.sent)-low)
	}
	h.Frames = append(h.Frames, Frame{At: now, Content: content})
}

// Take removes and returns the first frame of a type.
func (h *Host) Take(kind byte) (Frame, bool) {
	for i, f := range h.Frames {
		if f.Type() == kind {
			h.Frames = append(h.Frames[:i:i], h.Frames[i+1:]...)
			return f, true
		}
	}
	return Frame{}, false
}
