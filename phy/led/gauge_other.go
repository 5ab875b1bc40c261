//go:build !linux

package led

// queueGauge asks the driver how much it has yet to send; here none does.
type queueGauge struct{}

func openGauge(string) queueGauge       { return queueGauge{} }
func (queueGauge) queued() (int, error) { return 0, errNoGauge }
func (queueGauge) close()               {}
