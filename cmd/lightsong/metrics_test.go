package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestMetrics asks as Prometheus does.
func TestMetrics(t *testing.T) {
	l, err := listenMetrics(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveMetrics(ctx, l, func(context.Context) Status { return *looked(10) }) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %s: %s", err, resp.Status, text)
	}
	for _, want := range []string{
		"# TYPE lightsong_peer_octets_out_total counter",
		`lightsong_up{interface="tun0",station="a"} 1`,
		`lightsong_peer_octets_out_total{peer="b",station="a"} 10000`,
		`lightsong_peer_snr_db{peer="b",station="a"} 20.5`,
		`lightsong_peer_rtt_seconds{peer="b",station="a"} 0.12`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "snr_there") {
		t.Error("an SNR that was not measured is reported")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if l, err := listenMetrics(t.Context(), ""); l != nil || err != nil {
		t.Errorf("without an address: %v, %v", l, err)
	}
	if _, err := listenMetrics(t.Context(), "nowhere.invalid:http:0"); err == nil {
		t.Error("an address that is none is taken")
	}
}
