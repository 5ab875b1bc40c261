package led

import (
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// queueGauge asks the driver how much it has yet to send. go.bug.st/serial keeps its
// descriptor to itself and makes the line exclusive, so this one is opened before.
type queueGauge struct{ state *gaugeState }

type gaugeState struct {
	mu sync.Mutex
	fd int // −1: none, or closed
}

func openGauge(path string) queueGauge {
	g := queueGauge{&gaugeState{fd: -1}}
	device, err := filepath.EvalSymlinks(path)
	if err != nil || strings.HasPrefix(device, "/dev/pts/") {
		return g // it would always say 0
	}
	if fd, err := unix.Open(device, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		g.state.fd = fd
	}
	return g
}

func (g queueGauge) queued() (int, error) {
	g.state.mu.Lock()
	defer g.state.mu.Unlock()
	if g.state.fd < 0 {
		return 0, errNoGauge
	}
	return unix.IoctlGetInt(g.state.fd, unix.TIOCOUTQ)
}

func (g queueGauge) close() {
	g.state.mu.Lock()
	defer g.state.mu.Unlock()
	if g.state.fd >= 0 {
		_ = unix.Close(g.state.fd)
		g.state.fd = -1
	}
}
