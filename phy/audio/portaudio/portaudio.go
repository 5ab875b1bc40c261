//go:build portaudio

package portaudio

import (
	"errors"
	"fmt"
	"time"

	pa "github.com/gordonklaus/portaudio"

	"lightsong/phy/audio"
)

// Built is whether this build has sound.
const Built = true

// Version of PortAudio.
func Version() string { return pa.VersionText() }

var _ audio.CardLibrary = Library{}

// usualRates are those that Cards asks for, Hz.
var usualRates = []int{44100, 48000, 96000, 192000}

const blocksPerSecond = 100 // of what goes to and from a card at a time: 10 ms

// Cards implements audio.CardLibrary.
func (Library) Cards() ([]audio.CardInfo, error) {
	if err := pa.Initialize(); err != nil {
		return nil, fmt.Errorf("PortAudio: %w", err)
	}
	infos, devices, err := cards()
	for i := range infos {
		infos[i].Rates = rates(devices[i])
	}
	return infos, errors.Join(err, pa.Terminate())
}

// cards lists what PortAudio has found. It knows no rates: to ask for them a
// card has to be opened.
func cards() ([]audio.CardInfo, []*pa.DeviceInfo, error) {
	devices, err := pa.Devices()
	if err != nil {
		return nil, nil, fmt.Errorf("PortAudio: %w", err)
	}
	// No default is no error.
	in, _ := pa.DefaultInputDevice()
	out, _ := pa.DefaultOutputDevice()
	infos := make([]audio.CardInfo, len(devices))
	for i, d := range devices {
		infos[i] = audio.CardInfo{
			Name:          d.Name,
			API:           d.HostApi.Name,
			Inputs:        d.MaxInputChannels,
			Outputs:       d.MaxOutputChannels,
			Rate:          d.DefaultSampleRate,
			InLatency:     milliseconds(d.DefaultLowInputLatency),
			OutLatency:    milliseconds(d.DefaultLowOutputLatency),
			DefaultInput:  in != nil && d.Index == in.Index,
			DefaultOutput: out != nil && d.Index == out.Index,
		}
	}
	return infos, devices, nil
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// rates are those of the usual ones that a card takes in any direction.
func rates(d *pa.DeviceInfo) []int {
	var list []int
	for _, rate := range usualRates {
		in := pa.StreamParameters{SampleRate: float64(rate)}
		in.Input = pa.StreamDeviceParameters{Device: d, Channels: 1, Latency: d.DefaultHighInputLatency}
		out := pa.StreamParameters{SampleRate: float64(rate)}
		out.Output = pa.StreamDeviceParameters{Device: d, Channels: 1, Latency: d.DefaultHighOutputLatency}
		if d.MaxOutputChannels > 0 && pa.IsFormatSupported(out, []float32{}) == nil ||
			d.MaxInputChannels > 0 && pa.IsFormatSupported(in, []float32{}) == nil {
			list = append(list, rate)
		}
	}
	return list
}

// Open implements audio.CardLibrary. Capture and playback are streams of their
// own, also on the same card: the ALSA part of PortAudio 19.6 switches the
// playback half of a joint stream off while it reads, which is no good to two
// threads.
func (Library) Open(r audio.CardRequest) (audio.Card, error) {
	if err := pa.Initialize(); err != nil {
		return nil, fmt.Errorf("PortAudio: %w", err)
	}
	c := new(card)
	if err := c.open(r); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// card is an open card.
type card struct {
	in, out         *pa.Stream
	inBuf, outBuf   []float32
	inTime, outTime time.Duration
}

func (c *card) open(r audio.CardRequest) error {
	infos, devices, err := cards()
	if err != nil {
		return err
	}
	channels := max(1, r.Channels)
	p := pa.StreamParameters{SampleRate: float64(r.Rate), FramesPerBuffer: r.Block() / channels}
	open := func(name string, input bool) (*pa.Stream, []float32, time.Duration, error) {
		i, err := audio.FindCard(infos, name, input)
		if err != nil {
			return nil, nil, 0, err
		}
		d := devices[i]
		has, what, side := d.MaxOutputChannels, "output", &p.Output
		if input {
			has, what, side = d.MaxInputChannels, "input", &p.Input
		}
		if has < channels {
			return nil, nil, 0, fmt.Errorf("%s: %d %s channels, %d are wanted", d.Name, has, what, channels)
		}
		p.Input, p.Output = pa.StreamDeviceParameters{}, pa.StreamDeviceParameters{}
		*side = pa.StreamDeviceParameters{Device: d, Channels: channels, Latency: r.Latency}
		buf := make([]float32, r.Block())
		s, err := pa.OpenStream(p, buf)
		if err != nil {
			return nil, nil, 0, fmt.Errorf("%s, %s at %d Hz: %w", d.Name, what, r.Rate, err)
		}
		if err := s.Start(); err != nil {
			return nil, nil, 0, errors.Join(fmt.Errorf("%s, %s: %w", d.Name, what, err), s.Close())
		}
		info := s.Info()
		return s, buf, info.InputLatency + info.OutputLatency, nil // one of them is 0
	}
	if r.Output != "" {
		if c.out, c.outBuf, c.outTime, err = open(r.Output, false); err != nil {
			return err
		}
	}
	if r.Input != "" {
		if c.in, c.inBuf, _, err = open(r.Input, true); err != nil {
			return err
		}
		// PortAudio says how long a sample may wait in the card's buffer. One
		// that is read punctually has waited for the rest of its block and for
		// the next block's interrupt.
		c.inTime = 2 * time.Second / blocksPerSecond
	}
	return nil
}

// Latency implements audio.Card.
func (c *card) Latency() (in, out time.Duration) { return c.inTime, c.outTime }

// Read implements audio.Card.
func (c *card) Read(p []float32) (overflow bool, err error) {
	err = c.in.Read()
	copy(p, c.inBuf)
	if errors.Is(err, pa.InputOverflowed) {
		return true, nil
	}
	return false, err
}

// Write implements audio.Card.
func (c *card) Write(p []float32) (underrun bool, err error) {
	copy(c.outBuf, p)
	err = c.out.Write()
	if errors.Is(err, pa.OutputUnderflowed) {
		return true, nil
	}
	return false, err
}

// Close implements audio.Card.
func (c *card) Close() error {
	var errs []error
	for _, s := range []*pa.Stream{c.in, c.out} {
		if s != nil {
			// Not Stop: that waits until everything has been played.
			errs = append(errs, s.Abort(), s.Close())
		}
	}
	return errors.Join(append(errs, pa.Terminate())...)
}
