//go:build !portaudio

package portaudio

import "lightsong/phy/audio"

// Built is whether this build has sound.
const Built = false

var _ audio.CardLibrary = Library{}

// Cards implements audio.CardLibrary.
func (Library) Cards() ([]audio.CardInfo, error) { return nil, ErrNotBuilt }

// Open implements audio.CardLibrary.
func (Library) Open(audio.CardRequest) (audio.Card, error) { return nil, ErrNotBuilt }

// Version of PortAudio.
func Version() string { return "none: built without sound" }
