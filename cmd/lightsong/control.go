package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// controlSocket is where the daemon of an interface answers, unless configured
// otherwise.
func controlSocket(tun string) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if os.Geteuid() == 0 || dir == "" {
		dir = "/run"
	}
	return filepath.Join(dir, "lightsong", tun+".sock")
}

// listenControl makes the control socket. A socket that nobody answers any more
// is replaced; one that is answered means a second daemon.
func listenControl(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := listenUnix(ctx, path)
	if errors.Is(err, errAnswered) {
		return nil, fmt.Errorf("another lightsong answers at %s: stop it first, or give this one an interface or control socket of its own", path)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	return l, nil
}

// serveControl answers on the control socket until ctx ends. status is called
// for each request for it.
func serveControl(ctx context.Context, l net.Listener, status func(context.Context) Status) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := writeJSON(w, status(r.Context())); err != nil {
			return // the client is gone
		}
	})
	return serveHTTP(ctx, l, mux, "control socket")
}

// serveHTTP answers on l until ctx ends, and closes it; what names it in errors.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, what string) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// askStatus asks the daemon at a control socket.
func askStatus(ctx context.Context, path string) (Status, error) {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lightsong/status", nil)
	if err != nil {
		return Status{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return Status{}, fmt.Errorf("no daemon answers at %s: is `lightsong up` running? (--control names another socket)", path)
		case errors.Is(err, os.ErrPermission):
			return Status{}, fmt.Errorf("no permission for %s: run as the daemon's user or as root", path)
		}
		return Status{}, fmt.Errorf("asking the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return Status{}, fmt.Errorf("the daemon at %s answers: %s", path, text)
	}
	var s Status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("the daemon at %s answers in another language: %w", path, err)
	}
	return s, nil
}
