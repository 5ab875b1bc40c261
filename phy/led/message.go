package led

import (
	"encoding/binary"
	"fmt"
)

// Types of message (firmware/PROTOCOL.md).
const (
	msgHello      = 0x01
	msgBaud       = 0x02
	msgConfig     = 0x03
	msgTX         = 0x04
	msgEcho       = 0x06
	msgPRBS       = 0x07
	msgCredit     = 0x09
	msgReset      = 0x0A
	msgInfo       = 0x81
	msgBaudTold   = 0x82
	msgAck        = 0x83
	msgTXDone     = 0x84
	msgEchoTold   = 0x86
	msgPRBSTold   = 0x87
	msgSenseTold  = 0x88
	msgCreditTold = 0x89
	msgRX         = 0x90
	msgError      = 0xFF
)

const (
	flag   = 0x7E
	escape = 0x7D
	mark   = 0x7C

	protocolMajor, protocolMinor = 1, 0

	baseSpeed = 115200
	rxHead    = 9 // type and the header as heard
	rxTrailer = 14
	// maxContent is the longest message: RX of the longest body.
	maxContent = rxHead + 2047 + rxTrailer + 2
)

// speeds that INFO tells of, by bit.
var speeds = [...]int{115200, 250000, 500000, 1000000, 2000000}

// crcTable is that of CRC-16/X-25, polynomial 0x8408 reflected.
var crcTable = func() (t [256]uint16) {
	for i := range t {
		v := uint16(i)
		for range 8 {
			if v&1 != 0 {
				v = v>>1 ^ 0x8408
			} else {
				v >>= 1
			}
		}
		t[i] = v
	}
	return t
}()

const (
	crcStart = 0xFFFF
	crcGood  = 0xF0B8 // the register after content and check
)

func crcStep(reg uint16, v byte) uint16 { return reg>>8 ^ crcTable[byte(reg)^v] }

func crc(b []byte) uint16 {
	reg := uint16(crcStart)
	for _, v := range b {
		reg = crcStep(reg, v)
	}
	return ^reg
}

// appendMessage appends content as a frame of the serial line.
func appendMessage(dst []byte, content ...byte) []byte {
	check := crc(content)
	dst = appendEscaped(append(dst, flag), content...)
	dst = appendEscaped(dst, byte(check), byte(check>>8))
	return append(dst, flag)
}

func appendEscaped(dst []byte, content ...byte) []byte {
	for _, v := range content {
		if v >= mark && v <= flag {
			dst = append(dst, escape)
			v ^= 0x20
		}
		dst = append(dst, v)
	}
	return dst
}

// appendTX appends the message that sends a body. start counts octets of the
// escaped body.
func appendTX(dst []byte, seq, rate, patience uint8, start int, body []byte) []byte {
	head := [10]byte{msgTX, seq, rate, patience}
	binary.LittleEndian.PutUint16(head[4:], uint16(len(body)))
	binary.LittleEndian.PutUint16(head[6:], uint16(min(start, len(body))))
	binary.LittleEndian.PutUint16(head[8:], crc(head[:8]))
	reg := uint16(crcStart)
	for _, v := range head {
		reg = crcStep(reg, v)
	}
	for _, v := range body {
		reg = crcStep(reg, v)
	}
	reg = ^reg
	dst = appendEscaped(append(dst, flag), head[:]...)
	dst = appendEscaped(dst, body...)
	dst = appendEscaped(dst, byte(reg), byte(reg>>8))
	return append(dst, flag)
}

// parser takes the octets of the line apart. It belongs to the reader.
type parser struct {
	content []byte
	reg     uint16
	escaped bool
	skip    bool // too long, or broken: wait for the next flag

	onMark    func()
	onMessage func(content []byte) // valid until it returns; the check is gone
	onBroken  func(content []byte) // the check failed
	onGrowth  func(content []byte) // RX: one more octet is there
}

func (p *parser) push(in []byte) {
	for _, v := range in {
		switch {
		case v == mark:
			p.onMark()
		case v == flag:
			p.end()
		case v == escape && !p.escaped:
			p.escaped = true
		default:
			if p.escaped {
				v ^= 0x20
				p.escaped = false
			}
			if len(p.content) == maxContent {
				p.skip = true
			}
			if p.skip {
				continue
			}
			p.content = append(p.content, v)
			p.reg = crcStep(p.reg, v)
			if p.content[0] == msgRX {
				p.onGrowth(p.content)
			}
		}
	}
}

func (p *parser) end() {
	n := len(p.content)
	switch {
	case n == 0 && !p.skip && !p.escaped: // one flag more between two messages
	case n < 3 || p.skip || p.escaped || p.reg != crcGood:
		p.onBroken(p.content)
	default:
		p.onMessage(p.content[:n-2])
	}
	p.content, p.reg, p.escaped, p.skip = p.content[:0], crcStart, false, false
}

// Info is what a board tells of itself.
type Info struct {
	Major, Minor uint8
	Board        uint8  // 1: ATmega328P; 240: host build
	Build        uint32 // major<<16 | minor<<8 | patch
	Clock        uint32 // Hz
	LineCodes    uint8  // bit 0: Manchester
	Rates        uint8  // bit r: chip rate r
	MaxBody      int    // octets
	Window       int    // octets of serial line that may be unconsumed
	Mark         int    // octets that one mark stands for
	Speeds       uint8  // bits: 115200, 250000, 500000, 1000000, 2000000 baud
	Features     uint16
	Receiver     uint8 // 1: comparator; 2: the LED itself
}

// Version is the build as people write it.
func (i Info) Version() string {
	return fmt.Sprintf("%d.%d.%d", i.Build>>16, i.Build>>8&0xFF, i.Build&0xFF)
}

// OneLED tells whether the board's one LED both sends and hears.
func (i Info) OneLED() bool { return i.Receiver == 2 }

const infoOctets = 26

func parseInfo(c []byte) (i Info, ok bool) {
	if len(c) < infoOctets {
		return i, false
	}
	le := binary.LittleEndian
	i = Info{
		Major: c[1], Minor: c[2], Board: c[3], Build: le.Uint32(c[4:]), Clock: le.Uint32(c[8:]),
		LineCodes: c[12], Rates: c[13], MaxBody: int(le.Uint16(c[14:])), Window: int(le.Uint16(c[16:])), Mark: int(c[18]),
		Speeds: c[19], Features: le.Uint16(c[20:]), Receiver: c[22],
	}
	return i, i.Mark > 0 && i.Window > 2*creditReserve && i.MaxBody > 0
}
