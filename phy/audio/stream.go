package audio

import "time"

// Stream is a sound device, or what stands in for one: a WAV file, the
// simulator. Samples are mono float32, full scale ±1. Read and Write may be
// called at the same time from two goroutines, each from one only.
type Stream interface {
	// Read fills p (shape: any length; it returns when all of it is filled or
	// the stream ends). lost counts the samples that the device dropped since
	// the last Read and that p therefore does not contain.
	Read(p []float32) (n int, lost int64, err error)
	// Write queues p for playing and blocks while the device's buffer is full.
	// What is never written plays as silence.
	Write(p []float32) error
	// Latency is the age of a sample when Read returns it, and the time from
	// Write returning to the last sample leaving the device.
	Latency() (in, out time.Duration)
	Close() error
}
