package main

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"lightsong/sims"
)

// lossyCable is a lead whose disturbances touch a frame with probability loss.
func lossyCable(loss float64) medium {
	const frame, hit = 80 * time.Millisecond, 20 * time.Millisecond
	return medium{
		name:  fmt.Sprintf("cable with %.0f %% of the frames disturbed", 100*loss),
		about: "a lead with noise bursts",
		air: fmt.Sprintf(`
[room]
rt60_s = 0.0
own_echo = false
[station]
snr_db = 30.0
hits_per_s = %g
hit_ms = %g
`, sims.HitRate(loss, frame, hit), hit.Seconds()*1000),
		audio:  `duplex = "half"`,
		octets: 20000,
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if what() {
			return
		}
	}
	t.Fatal("it did not happen within 60 s")
}

// patientStatus asks a daemon that is there, on a machine that may take its time,
// until its link has answered.
func patientStatus(t *testing.T, socket string) (s Status) {
	t.Helper()
	waitFor(t, func() (ok bool) {
		var err error
		s, err = askStatus(t.Context(), socket)
		return err == nil && s.Link.Address != 0 // else the link had no time to answer
	})
	return s
}

// background runs f until the test ends and wants it to end without error.
func background(t *testing.T, f func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
