package emu

import (
	"bytes"
	"testing"
)

// Whatever a board says, the host's end neither panics nor takes a frame whose
// check is wrong, and after two flags it hears the next good one.
func FuzzHost(f *testing.F) {
	f.Add(AppendFrame(nil, []byte{Info, 1, 0}))
	f.Add(AppendFrame(nil, TXContent(1, 0, 0, 4, []byte{0x7C, 0x7D, 0x7E, 0})))
	f.Add([]byte{flag, escape, flag, mark, mark, CreditTold})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHost()
		h.hear(0, b)
		for _, frame := range h.Frames {
			if len(frame.Content) == 0 {
				t.Fatal("a frame without content")
			}
		}
		h.Frames = nil
		h.hear(0, []byte{flag, flag})
		h.hear(0, AppendFrame(nil, []byte{EchoTold, 1, 2, 3}))
		got, ok := h.Take(EchoTold)
		for ok && !bytes.Equal(got.Content, []byte{EchoTold, 1, 2, 3}) {
			got, ok = h.Take(EchoTold)
		}
		if !ok {
			t.Fatal("a good frame after garbage was not heard")
		}
		if out := h.take(1 << 16); len(out) != 0 {
			t.Fatalf("%d octets to say, but nothing was asked for", len(out))
		}
	})
}
