//go:build amd64 && !purego

package fec

import "golang.org/x/sys/cpu"

var haveVector = cpu.X86.HasAVX2

// layerVector is layer with AVX2, 16 checks at a time. It also computes the
// lanes from z to the end of the last vector, which repeat the first ones.
//
//go:noescape
func layerVector(post, msg *int16, taps *tap, degree, z, groups int)

// parityVector is parity with AVX2; it returns 0 if all checks hold.
//
//go:noescape
func parityVector(post *int16, taps *tap, degree, z, groups int) int
