//go:build figures

package main

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lightsong/link"
	"lightsong/sims"
)

// The figures of docs/light.md for a bare UART, in simulated time: `make light-figures`.
func TestUARTFigures(t *testing.T) {
	for _, baud := range []int{2000000, 3000000} {
		for _, percent := range []float64{-3, -2, 0, 1, 2, 3} {
			onUART(t, uartLight(baud, percent*1e4, 0.04), baud, nil, func(_ context.Context, b *uartBeam) {
				got := b.goodput(true, 2*time.Second, 6*time.Second)
				t.Logf("%d Mbaud, clock %+g %%: UDP both ways at once, to the station with this clock %.0f, from it %.0f kb/s", baud/1000000, percent, got[0]/1e3, got[1]/1e3)
			})
		}
	}
}

// A hand in the beam for 100 ms each second: ping loses nothing.
func TestUARTHand(t *testing.T) {
	c := uartLight(2000000, 1e4, 0.04)
	c.Hands = []sims.LightHand{{StartS: 3, ForS: 0.1, EveryS: 1}}
	onUART(t, c, 2000000, nil, func(_ context.Context, b *uartBeam) {
		rtts := ping(b.hosts[0], b.hosts[1], 40)
		slices.Sort(rtts)
		t.Logf("ping with a hand for 100 ms each second: %d of 40, median %v, longest %v", len(rtts), rtts[len(rtts)/2], rtts[len(rtts)-1])
		if len(rtts) < 40 {
			t.Error("pings were lost")
		}
		got := b.goodput(false, 3*time.Second, 10*time.Second)
		t.Logf("UDP one way with a hand: %.0f kb/s", got[1]/1e3)
	})
}

// TCP one way beside UDP one way, both in simulated time.
func TestUARTTCP(t *testing.T) {
	for _, baud := range []int{2000000, 3000000} {
		var udp float64
		onUART(t, uartLight(baud, 1e4, 0.04), baud, nil, func(_ context.Context, b *uartBeam) {
			udp = b.goodput(false, 2*time.Second, 6*time.Second)[1]
		})
		var hosts [2]*tcpHost
		instead := func(i int, from, to netip.Addr) link.Host {
			hosts[i] = newTCPHost(from, to)
			return hosts[i]
		}
		onUART(t, uartLight(baud, 1e4, 0.04), baud, instead, func(context.Context, *uartBeam) {
			got := tcpGoodput(hosts, 2*time.Second, 20*time.Second)
			t.Logf("%d Mbaud: UDP one way %.0f kb/s, TCP %.0f kb/s of payload, %.2f of it; round trip %v, %d segments repeated",
				baud/1000000, udp/1e3, got/1e3, got/udp, hosts[0].rtt.Round(time.Millisecond), hosts[0].repeated)
		})
	}
}
