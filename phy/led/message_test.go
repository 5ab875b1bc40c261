package led

import "testing"

// Whatever comes over the line, the parser takes it; what it passes on is short
// enough and has a right check.
func FuzzParser(f *testing.F) {
	f.Add(appendMessage(nil, msgInfo, 1, 2, 3))
	f.Add(appendTX(nil, 1, 0, 0, 4, []byte{0x7C, 0x7D, 0x7E, 1}))
	f.Add([]byte{flag, escape, flag, escape, escape, mark, 1, 2, flag})
	f.Fuzz(func(t *testing.T, in []byte) {
		marks := 0
		p := parser{
			reg:    crcStart,
			onMark: func() { marks++ },
			onMessage: func(c []byte) {
				if len(c) == 0 || len(c) > maxContent {
					t.Errorf("a message of %d octets", len(c))
				}
			},
			onBroken: func([]byte) {},
			onGrowth: func([]byte) {},
		}
		p.push(in)
		// After any garbage a flag brings it back into step.
		whole := false
		p.onMessage = func(c []byte) { whole = string(c) == "\x81ok" }
		p.push([]byte{flag})
		p.push(appendMessage(nil, 0x81, 'o', 'k'))
		if !whole {
			t.Error("a good message after garbage was lost")
		}
	})
}
