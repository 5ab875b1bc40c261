package led

import "context"

// device is what keep needs of something that may be unplugged and come back.
type device[C any] struct {
	what    string // for the log
	log     func(what string, err error)
	connect func(context.Context) (C, error)
	use     func(context.Context, C) (why error) // until the connection is lost, or the context ends
	failed  func(err error) (again bool)         // to connect
}

// keep holds a connection until ctx ends, and makes a new one whenever it is lost. What
// is in the way of that it says once.
func keep[C any](ctx context.Context, c C, d device[C]) {
	for {
		why := d.use(ctx, c)
		if ctx.Err() != nil {
			return
		}
		d.log(d.what+" lost; waiting for it", why)
		for told := ""; ; {
			if pause(ctx, redial) != nil {
				return
			}
			var err error
			if c, err = d.connect(ctx); err == nil {
				break
			}
			if !d.failed(err) {
				return
			}
			if err.Error() != told && ctx.Err() == nil {
				told = err.Error()
				d.log("no "+d.what+" yet", err)
			}
		}
	}
}
