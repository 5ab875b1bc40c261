package fec_test

import (
	"fmt"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// A frame crosses a channel that hides half of it. The first reception says
// that it does not decode; the next redundancy version adds what is missing.
func ExampleLDPC() {
	code, err := fec.NewLDPC(1000, 1500)
	if err != nil {
		fmt.Println(err)
		return
	}
	info := make([]byte, code.K()) // one bit per byte
	info[0], info[999] = 1, 1

	soft, got := make([]modem.LLR, code.N()), make([]byte, code.K())
	for _, rv := range []int{0, 2} {
		llr := make([]modem.LLR, code.E())
		for i, bit := range code.Encode(nil, info, rv) {
			if i >= code.E()/2 {
				llr[i] = 4 - 8*modem.LLR(bit)
			}
		}
		code.Dematch(soft, llr, rv)
		_, ok := code.Decode(got, soft, 20)
		fmt.Println(rv, ok)
	}
	fmt.Println(got[0], got[1], got[999])
	// Output:
	// 0 false
	// 2 true
	// 1 0 1
}
