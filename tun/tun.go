package tun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Limits of the MTU and the kernel's settings.
const (
	MinMTU     = 68   // octets; RFC 791
	MinMTUIPv6 = 1280 // octets; RFC 8200 §5
	MaxMTU     = 9000 // octets

	maxName     = unix.IFNAMSIZ - 1
	addrGenNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h

	// queueLength of the kernel in packets: what TCP may send at one
	// acknowledgement comes in one go, before the daemon is woken. It reads at
	// once, so that this is no backlog before its own queues.
	queueLength = 256
)

// The ways in which Open can fail, to be found with errors.Is.
var (
	ErrConfig     = errors.New("bad interface configuration")
	ErrPermission = errors.New("no permission")
	ErrBusy       = errors.New("interface in use")
)

// Config of a device.
type Config struct {
	Name      string         // 1 to 15 characters
	Addresses []netip.Prefix // own address and the length of the on-link prefix
	MTU       int            // octets; at least 1280 with an IPv6 address
	Routes    []netip.Prefix // further destinations behind the device
}

// Validate checks the configuration without touching the system. Errors wrap
// ErrConfig.
func (c Config) Validate() error {
	if err := checkName(c.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.MTU < MinMTU || c.MTU > MaxMTU {
		return fmt.Errorf("%w: mtu %d: must be %d to %d octets", ErrConfig, c.MTU, MinMTU, MaxMTU)
	}
	for _, p := range append(c.Addresses[:len(c.Addresses):len(c.Addresses)], c.Routes...) {
		if !p.IsValid() {
			return fmt.Errorf("%w: an address or route is empty", ErrConfig)
		}
		if p.Addr().Is6() && c.MTU < MinMTUIPv6 {
			return fmt.Errorf("%w: mtu %d: IPv6 (%s) needs at least %d octets", ErrConfig, c.MTU, p, MinMTUIPv6)
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the interface has no name")
	case len(name) > maxName:
		return fmt.Errorf("interface name %q: at most %d characters", name, maxName)
	case name == "." || name == ".." || strings.ContainsAny(name, "/:%"):
		return fmt.Errorf("interface name %q: \"/\", \":\", \"%%\", \".\" and \"..\" are not allowed", name)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("interface name %q: no spaces or control characters", name)
	}
	return nil
}

// Device is an open TUN device. ReadPacket may run beside the other methods.
type Device struct {
	name string
	file *os.File
	link netlink.Link
	undo []func() error // what Close has to take back on a device that was there before
}

// Open creates or attaches to the device and brings it up, without carrier.
func Open(cfg Config) (_ *Device, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	_, err = netlink.LinkByName(cfg.Name)
	prepared := err == nil

	ifce, err := water.New(water.Config{
		DeviceType:             water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: cfg.Name, Persist: prepared},
	})
	if err != nil {
		return nil, explain(cfg.Name, err)
	}
	d := &Device{name: ifce.Name()}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("interface %s: the TUN library gave no file", cfg.Name), ifce.Close())
	}
	d.file = file
	// The library opens it inheritable; no child of ours may hold the device.
	if err := d.control(func(fd uintptr) error { unix.CloseOnExec(int(fd)); return nil }); err != nil {
		return nil, err
	}
	if err := d.SetCarrier(false); err != nil {
		return nil, err
	}
	if err := d.configure(cfg, prepared); err != nil {
		return nil, explain(cfg.Name, err)
	}
	return d, nil
}

// configure changes what differs from cfg, so that a prepared device that fits
// needs no privilege.
func (d *Device) configure(cfg Config, prepared bool) (err error) {
	if d.link, err = netlink.LinkByName(d.name); err != nil {
		return err
	}
	attrs := d.link.Attrs()
	if !prepared {
		// The kernel would solicit routers and announce groups over a medium
		// where every octet costs milliseconds. This comes before the MTU:
		// with an MTU below 1280 the kernel has no IPv6 settings to change.
		if err := netlink.LinkSetIP6AddrGenMode(d.link, addrGenNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			return fmt.Errorf("turning IPv6 address generation off: %w", err)
		}
		if err := netlink.LinkSetTxQLen(d.link, queueLength); err != nil {
			return fmt.Errorf("setting the queue length: %w", err)
		}
	}
	if attrs.MTU != cfg.MTU {
		if err := netlink.LinkSetMTU(d.link, cfg.MTU); err != nil {
			return fmt.Errorf("setting MTU %d: %w", cfg.MTU, err)
		}
		was := attrs.MTU
		d.undo = append(d.undo, func() error { return netlink.LinkSetMTU(d.link, was) })
	}
	present, err := netlink.AddrList(d.link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	for _, prefix := range cfg.Addresses {
		addr, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return fmt.Errorf("address %s: %w", prefix, err)
		}
		if prefix.Addr().Is6() {
			// Duplicate address detection would hold the address back for
			// longer than the link needs to come up.
			addr.Flags |= unix.IFA_F_NODAD
		}
		if hasAddress(present, prefix) {
			continue
		}
		if err := netlink.AddrAdd(d.link, addr); err != nil {
			return fmt.Errorf("adding address %s: %w", prefix, err)
		}
		d.undo = append(d.undo, func() error { return netlink.AddrDel(d.link, addr) })
	}
	if attrs.Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(d.link); err != nil {
			return fmt.Errorf("bringing it up: %w", err)
		}
		d.undo = append(d.undo, func() error { return netlink.LinkSetDown(d.link) })
	}
	for _, prefix := range cfg.Routes {
		dst, err := netlink.ParseIPNet(prefix.Masked().String())
		if err != nil {
			return fmt.Errorf("route %s: %w", prefix, err)
		}
		route := &netlink.Route{LinkIndex: d.link.Attrs().Index, Dst: dst}
		if err := netlink.RouteAdd(route); err != nil {
			if errors.Is(err, unix.EEXIST) && prepared {
				continue
			}
			return fmt.Errorf("adding route %s: %w", prefix, err)
		}
		d.undo = append(d.undo, func() error { return netlink.RouteDel(route) })
	}
	if !prepared {
		d.undo = nil // the device goes, and all of it with it
	}
	return nil
}

func hasAddress(present []netlink.Addr, want netip.Prefix) bool {
	for _, a := range present {
		if a.IPNet.String() == want.String() {
			return true
		}
	}
	return false
}

// explain turns what the kernel says into what a person can do.
func explain(name string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w to set up %s (%w): run as root, or allow this program to with `setcap cap_net_admin+ep`, or prepare the device with `ip tuntap add dev %s mode tun user $USER` and its addresses",
			ErrPermission, name, err, name)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("interface %s: %w: the kernel offers no TUN devices here; try `modprobe tun`", name, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another program holds %s (another `lightsong up`?); stop it or choose another name", ErrBusy, name)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("interface %s: %w: an interface of this name exists and is no TUN device, or the kernel refuses the setting", name, err)
	}
	return fmt.Errorf("interface %s: %w", name, err)
}

// Name of the interface.
func (d *Device) Name() string { return d.name }

// ReadPacket waits for the next packet from the host and copies it to p. It
// ends with ctx.
func (d *Device) ReadPacket(ctx context.Context, p []byte) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		d.file.SetReadDeadline(time.Unix(1, 0))
		close(expired)
	})
	n, err := d.file.Read(p)
	if !stop() {
		<-expired
		d.file.SetReadDeadline(time.Time{}) // for the next caller
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", d.name, err)
	}
	return n, nil
}

// WritePacket hands a packet to the host.
func (d *Device) WritePacket(p []byte) error {
	_, err := d.file.Write(p)
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) {
		return nil // the interface is down, or the packet is no IP: the host does not want it
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", d.name, err)
	}
	return nil
}

// SetCarrier tells the host whether the link is up, as `ip link` shows it.
func (d *Device) SetCarrier(up bool) error {
	state := 0
	if up {
		state = 1
	}
	err := d.control(func(fd uintptr) error { return unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, state) })
	if err != nil {
		return fmt.Errorf("interface %s: setting the carrier: %w", d.name, err)
	}
	return nil
}

func (d *Device) control(f func(fd uintptr) error) error {
	raw, err := d.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return err
	}
	return inner
}

// Close undoes what Open changed and releases the device, which ends ReadPacket.
func (d *Device) Close() error {
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		if err := d.undo[i](); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", d.name, err))
		}
	}
	d.undo = nil
	if d.file != nil {
		errs = append(errs, d.file.Close())
		d.file = nil
	}
	return errors.Join(errs...)
}
