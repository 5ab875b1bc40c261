package oneway

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// Each reception hears a third of one loop and goes on from what the ones before
// have kept: together they hold the file, and nothing is lost between them.
func TestResume(t *testing.T) {
	const seed = 6
	rng := rand.New(rand.NewPCG(seed, 0))
	file := content(rng, 5000)
	all := bursts(t, file, Options{Name: "resumed", Mode: mode(64), Redundancy: 0.3})
	var kept []byte
	frames := 0
	for reception := 1; ; reception++ {
		r := receiver(new(stores))
		if kept != nil {
			if err := r.Restore(bytes.NewReader(kept), int64(len(kept))); err != nil {
				t.Fatal(err)
			}
			if s := r.Stats(); s != (Stats{}) {
				t.Errorf("restoring counts as received: %+v", s)
			}
			if got := r.Progress().Frames; got != frames {
				t.Fatalf("%d frames restored, %d were kept", got, frames)
			}
		}
		for _, b := range all {
			c := clone(b)
			for i := range c.Frames {
				if rng.Float64() < 2./3 {
					c.Frames[i] = nil
				}
			}
			handle(t, r, c)
		}
		var out bytes.Buffer
		written, err := r.Save(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, whole := r.File(); whole {
			if written || out.Len() > 0 {
				t.Error("something was kept of a file that is whole")
			}
			want(t, r, file, "resumed")
			if reception < 2 {
				t.Errorf("seed %d: whole after one reception of a third", seed)
			}
			return
		}
		if got := r.Progress().Frames; !written || got <= frames {
			t.Fatalf("seed %d: reception %d has %d frames after %d, written %v", seed, reception, got, frames, written)
		}
		kept, frames = out.Bytes(), r.Progress().Frames
	}
}

func TestRestoreRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	all := bursts(t, content(rng, 500), Options{Name: "x", Mode: mode(64)})
	all[0].Frames[0] = nil
	r := receiver(new(stores))
	handle(t, r, all...)
	var out bytes.Buffer
	if written, err := r.Save(&out); err != nil || !written {
		t.Fatal(written, err)
	}
	good := out.Bytes()
	flip := func(i int) []byte {
		b := bytes.Clone(good)
		b[i] ^= 1
		return b
	}
	for name, b := range map[string][]byte{
		"empty":        {},
		"short":        good[:20],
		"cut":          good[:len(good)-1],
		"other file":   bytes.Repeat([]byte("x"), 1000),
		"magic":        flip(0),
		"control":      flip(len(saved) + 3),
		"frame":        flip(len(saved) + controlOctets + 30),
		"SHA-256":      flip(len(good) - 1),
		"frame is cut": append(bytes.Clone(good[:len(good)-40]), good[len(good)-32:]...),
	} {
		r := receiver(new(stores))
		if err := r.Restore(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNotSaved) {
			t.Errorf("%s: %v", name, err)
		}
		if p := r.Progress(); p.Known {
			t.Errorf("%s: %+v was taken of it", name, p)
		}
	}
	if err := r.Restore(bytes.NewReader(good), int64(len(good))); err != nil {
		t.Error(err)
	}
	if written, err := receiver(new(stores)).Save(&out); err != nil || written {
		t.Errorf("of nothing: %v, %v", written, err)
	}
}
