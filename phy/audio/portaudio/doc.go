// Package portaudio binds sound cards: audio.CardLibrary over PortAudio
// (v19, http://portaudio.com) by github.com/gordonklaus/portaudio.
//
// It is the only place where C is linked, and only with the build tag
// `portaudio`; without it Library says in one sentence that this build has no
// sound. It is meant for the sound process (audio.ServeCard) alone: PortAudio
// may block for ever, abort its process and print to standard error.
package portaudio

import "errors"

// ErrNotBuilt is the error of everything in a build without sound.
var ErrNotBuilt = errors.New("this lightsong was built without sound: install PortAudio's headers (Debian: portaudio19-dev, pkg-config) and a C compiler, and `make build` again")

// Library is PortAudio. The zero value is ready.
type Library struct{}
