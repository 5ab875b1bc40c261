package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inUserNamespace tells a child that it was started by reexecAsRoot.
const inUserNamespace = "LIGHTSONG_IN_USER_NAMESPACE"

// mayMakeNamespaces is whether this process can make network namespaces and
// interfaces as it is.
func mayMakeNamespaces() bool {
	return os.Geteuid() == 0
}

// reexecAsRoot runs this program again with the same arguments as root of a user
// namespace of its own, with a network and a mount namespace of its own, and
// returns its exit code.
func reexecAsRoot(ctx context.Context) (int, error) {
	if os.Getenv(inUserNamespace) != "" {
		return 0, errors.New("no privilege inside the user namespace; run as root")
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inUserNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("this system allows no user namespaces (%w): run with sudo", err)
	}
	return 0, nil
}

// inNetworkOf runs f on a thread that lives in the network namespace of a
// process. Sockets that f makes and programs that it starts belong there.
func inNetworkOf(pid int, f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: a thread in a foreign namespace must end with its
		// goroutine.
		runtime.LockOSThread()
		done <- func() error {
			ns, err := netns.GetFromPid(pid)
			if err != nil {
				return fmt.Errorf("network namespace of process %d: %w", pid, err)
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return fmt.Errorf("entering the network namespace of process %d: %w", pid, err)
			}
			return f()
		}()
	}()
	return <-done
}

// listenTCP listens on an IPv4 address in the network namespace of a process.
func listenTCP(ctx context.Context, pid int, address string) (l net.Listener, err error) {
	err = inNetworkOf(pid, func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", address)
		return err
	})
	return l, err
}

// dialTCP connects to one from the network namespace of a process, with Linux's usual
// congestion control.
func dialTCP(ctx context.Context, pid int, address string) (conn *net.TCPConn, err error) {
	err = inNetworkOf(pid, func() error {
		c, err := (&net.Dialer{Control: withCUBIC}).DialContext(ctx, "tcp4", address)
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

// withCUBIC lets a connection that is about to be made have Linux's usual congestion
// control, or Reno's, which every kernel has, so that the figures do not depend on
// what a host has set: BBR, for one, takes a link that speaks in turns for a
// slower one.
func withCUBIC(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		if unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic") != nil {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno") // at worst, it is the host's own
		}
	})
}
