//go:build !amd64 || purego

package fec

const haveVector = false

func layerVector(_, _ *int16, _ *tap, _, _, _ int) {}

func parityVector(_ *int16, _ *tap, _, _, _ int) int { return 0 }
