package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"lightsong/link"
	"lightsong/phy/audio"
)

const (
	lookEvery   = 5 * time.Second
	deafWindow  = 30 * time.Second // so long nothing is read before a word is said
	sayAgain    = 10 * time.Minute // the same, at the earliest
	busyShare   = 0.1
	clipShare   = 0.02
	silentShare = 0.99
	manyMissed  = 3
)

// deafness says in words why nothing can be read of what was heard; empty: there
// is nothing to be said about it.
func deafness(h audio.Hearing) string {
	share := func(d time.Duration) float64 { return d.Seconds() / max(h.Heard.Seconds(), 1e-9) }
	const next = "; run `lightsong doctor`"
	switch {
	case h.Received > 0 || h.Heard < deafWindow/2:
		return ""
	case share(h.Silent) > silentShare:
		return "hears nothing but digital silence: the input is muted, or the wrong one, or nobody plays into it" + next
	case share(h.Clipped) > clipShare:
		return "hears sound that is clipped, and can read nothing of it: turn the microphone down" + next
	case h.Missed >= manyMissed:
		return fmt.Sprintf("hears preambles (%d), but can read no header: too weak, too much echo, or something changes the sound", h.Preambles) + next
	case share(h.Busy) > busyShare:
		return "hears sound, but no preamble: noise, a station of another profile, or noise suppression that takes the modem for noise" + next
	}
	return ""
}

// watchHearing says once in the log, and as long as it is so in the status, why
// nothing can be read, until ctx ends. While the link is up there is no need to:
// then silence is a pause.
func watchHearing(ctx context.Context, p *audio.PHY, runner *link.Runner, state *carrying, log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	looks := []audio.Hearing{p.Hearing()}
	var told string
	var toldAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// The window is of sound heard: a simulated medium may be slow, and a device
		// that is not there tells nothing.
		now := p.Hearing()
		if now == looks[len(looks)-1] {
			continue
		}
		looks = append(looks, now)
		for len(looks) > 2 && now.Heard-looks[1].Heard >= deafWindow {
			looks = looks[1:]
		}
		why := ""
		if h := now.Sub(looks[0]); h.Heard >= deafWindow {
			why = deafness(h)
		}
		if why != "" {
			if stats, err := runner.Stats(ctx); err != nil || stats.Up {
				why = ""
			}
		}
		if why == "" {
			state.deaf.Store(nil)
			continue
		}
		state.deaf.Store(&why)
		if why != told || time.Since(toldAt) > sayAgain {
			told, toldAt = why, time.Now()
			log.Warn("nothing can be read: the station " + why)
		}
	}
}
