package tun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// TestMain runs the tests in a network namespace of their own; without root in
// a user namespace of their own too.
func TestMain(m *testing.M) {
	const inside = "LIGHTSONG_TUN_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		if err := cmd.Run(); err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				os.Exit(exit.ExitCode())
			}
			fmt.Fprintln(os.Stderr, "tun tests need a network namespace:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func prefixes(s ...string) (ps []netip.Prefix) {
	for _, v := range s {
		ps = append(ps, netip.MustParsePrefix(v))
	}
	return ps
}

func open(t *testing.T, cfg Config) *Device {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string // part of the sentence; empty: valid
	}{
		{Config{Name: "tun0", MTU: 1280, Addresses: prefixes("fd73::1/64")}, ""},
		{Config{Name: "tun0", MTU: 576, Addresses: prefixes("10.0.0.1/24")}, ""},
		{Config{Name: "tun0", MTU: 1279, Addresses: prefixes("fd73::1/64")}, "needs at least 1280"},
		{Config{Name: "tun0", MTU: 1279, Routes: prefixes("::/0")}, "needs at least 1280"},
		{Config{Name: "", MTU: 1280}, "no name"},
		{Config{Name: "sixteencharacter", MTU: 1280}, "at most 15"},
		{Config{Name: "a/b", MTU: 1280}, "not allowed"},
		{Config{Name: "tun%d", MTU: 1280}, "not allowed"},
		{Config{Name: "..", MTU: 1280}, "not allowed"},
		{Config{Name: "a b", MTU: 1280}, "no spaces"},
		{Config{Name: "tun0", MTU: 10}, "must be 68 to 9000"},
		{Config{Name: "tun0", MTU: 65536}, "must be 68 to 9000"},
		{Config{Name: "tun0", MTU: 1280, Addresses: make([]netip.Prefix, 1)}, "empty"},
	} {
		err := tt.cfg.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.cfg, err)
		case tt.want != "" && (err == nil || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: got %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// TestPackets sends a ping from the kernel's own IP stack through the device
// and answers it there.
func TestPackets(t *testing.T) {
	d := open(t, Config{Name: "ls0", MTU: 1280, Addresses: prefixes("10.9.0.1/24", "fd09::1/64"), Routes: prefixes("10.10.0.0/16", "fd0a::/32")})
	link, err := netlink.LinkByName("ls0")
	if err != nil {
		t.Fatal(err)
	}
	if got := link.Attrs(); got.MTU != 1280 || got.TxQLen != queueLength {
		t.Errorf("MTU %d, queue %d: want 1280, %d", got.MTU, got.TxQLen, queueLength)
	}
	for _, dst := range []string{"10.10.3.4", "fd0a::3"} {
		routes, err := netlink.RouteGet(netip.MustParseAddr(dst).AsSlice())
		if err != nil || len(routes) == 0 || routes[0].LinkIndex != link.Attrs().Index {
			t.Errorf("route to %s: %v, %v: want through ls0", dst, routes, err)
		}
	}

	conn, err := icmp.ListenPacket("ip4:icmp", "10.9.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := d.SetCarrier(true); err != nil {
		t.Fatal(err)
	}
	if got := operUp(t, "ls0"); !got {
		t.Error("carrier on, but the interface is not up")
	}
	echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("lightsong")}}
	raw, err := echo.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	dst := netip.MustParseAddr("10.9.0.2")
	if _, err := conn.WriteTo(raw, &net.IPAddr{IP: dst.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := make([]byte, 2000)
	var n int
	for { // the kernel may announce multicast groups first
		if n, err = d.ReadPacket(ctx, p); err != nil {
			t.Fatal(err)
		}
		if p[0]>>4 == 4 && p[9] == 1 {
			break
		}
	}
	reply := p[:n]
	copy(reply[12:16], []byte{10, 9, 0, 2})
	copy(reply[16:20], []byte{10, 9, 0, 1})
	reply[20] = 0                                   // echo reply; request was 8, so
	sum := uint32(reply[22])<<8 + uint32(reply[23]) // the checksum grows by 0x0800
	sum += 0x0800
	sum = sum&0xffff + sum>>16
	reply[22], reply[23] = byte(sum>>8), byte(sum)
	if err := d.WritePacket(reply); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 2000)
	n, from, err := conn.ReadFrom(buf)
	if err != nil || from.String() != "10.9.0.2" || !strings.Contains(string(buf[:n]), "lightsong") {
		t.Errorf("got %q from %v, %v: want the echo from 10.9.0.2", buf[:n], from, err)
	}

	if err := d.SetCarrier(false); err != nil {
		t.Fatal(err)
	}
	if got := operUp(t, "ls0"); got {
		t.Error("carrier off, but the interface is up")
	}
}

// operUp is whether the kernel shows the interface with carrier.
func operUp(t *testing.T, name string) bool {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().RawFlags&syscall.IFF_RUNNING != 0
}

func TestReadPacketEndsWithContext(t *testing.T) {
	d := open(t, Config{Name: "ls1", MTU: 1280})
	for range 3 { // the device can be read again afterwards
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := d.ReadPacket(ctx, make([]byte, 2000)); err != nil {
					done <- err
					return
				}
			}
		}()
		time.Sleep(20 * time.Millisecond)
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("ReadPacket did not end")
		}
	}
}

func TestSecondHolderIsRefused(t *testing.T) {
	open(t, Config{Name: "ls2", MTU: 1280})
	_, err := Open(Config{Name: "ls2", MTU: 1280})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want %v", err, ErrBusy)
	}
}

func TestNotATun(t *testing.T) {
	_, err := Open(Config{Name: "lo", MTU: 1280})
	if err == nil || !strings.Contains(err.Error(), "no TUN device") {
		t.Errorf("got %v, want a sentence that lo is no TUN device", err)
	}
}

// TestPreparedDeviceSurvives attaches to a persistent device and finds it
// unchanged afterwards.
func TestPreparedDeviceSurvives(t *testing.T) {
	made, err := water.New(water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: "ls3", Persist: true}})
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	defer func() {
		if link, err := netlink.LinkByName("ls3"); err == nil {
			netlink.LinkDel(link)
		}
	}()
	own, err := netlink.ParseAddr("10.11.0.9/24")
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("ls3")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, own); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d, err := Open(Config{Name: "ls3", MTU: 1300, Addresses: prefixes("10.11.0.1/24"), Routes: prefixes("10.12.0.0/16")})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		link, err := netlink.LinkByName("ls3")
		if err != nil {
			t.Fatalf("the prepared device is gone: %v", err)
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != "10.11.0.9/24" {
			t.Errorf("addresses %v, %v: want the one that was there before", addrs, err)
		}
		if got := link.Attrs().MTU; got != 1500 {
			t.Errorf("MTU %d, want 1500 as before", got)
		}
	}
}

func TestFiftyCyclesLeaveNothing(t *testing.T) {
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		d, err := Open(Config{Name: "ls4", MTU: 1280, Addresses: prefixes("10.13.0.1/24", "fd13::1/64"), Routes: prefixes("10.14.0.0/16")})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	before := fds()
	for range 50 {
		cycle()
	}
	if after := fds(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if _, err := netlink.LinkByName("ls4"); err == nil {
		t.Error("the interface is still there")
	}
}

// TestNoPermission drops to an unprivileged user where the test can.
func TestNoPermission(t *testing.T) {
	// A user namespace without a mapping has no privilege over our network
	// namespace; only this thread moves.
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- fmt.Errorf("setresuid: %w", errno)
			return
		}
		_, err = Open(Config{Name: "ls5", MTU: 1280})
		done <- err
	}()
	err := <-done
	if errors.Is(err, syscall.EINVAL) {
		t.Skip("no second user is mapped in this user namespace")
	}
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "setcap") {
		t.Errorf("got %v, want what to do without permission", err)
	}
}
