package audio

import "time"

// Stream is a sound device, or what stands in for one: a WAV file, the
// simulator. Samples are float32, full scale ±1: of one channel, or, where
// Channels says 2, pairs of left and right in turn. Read and Write may be called
// at the same time from two goroutines, each from one only, with whole pairs.
type Stream interface {
	// Read fills p (shape: any number of whole pairs; it returns when all of it
	// is filled or the stream ends). n counts values, two for a pair. lost counts
	// the samples, or pairs, that the device dropped since the last Read and that
	// p therefore does not contain.
	Read(p []float32) (n int, lost int64, err error)
	// Write queues p for playing and blocks while the device's buffer is full.
	// What is never written plays as silence.
	Write(p []float32) error
	// Latency is the age of a sample when Read returns it, and the time from
	// Write returning to the last sample leaving the device.
	Latency() (in, out time.Duration)
	Close() error
}

// Channeled is a Stream that may have more than one channel.
type Channeled interface {
	Channels() int
}

// Channels is how many channels a stream has, 1 for one that does not say.
func Channels(s Stream) int {
	if c, ok := s.(Channeled); ok {
		return c.Channels()
	}
	return 1
}
