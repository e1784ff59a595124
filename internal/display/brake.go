package display

import "time"

// A display may say only so much a second; the rest waits in its socket, and
// in the end on its side. A server of good will says some hundred bytes a
// minute, a busy root window some thousand a second; but one that floods, or
// that answers each question with a reason for the next, would have this
// process work without end.
const (
	brakeBytes = 1 << 20
	brakeWakes = 256
	brakeEvery = time.Second
)

// brake counts what a connection says.
type brake struct {
	from  time.Duration // of this second
	took  uint32        // bytes read in it
	wakes uint16        // and how often
	on    bool          // not read from until its end
	timer *timer        // nil until it is first needed
}

// slow stops reading from a connection that says too much.
func (c *client) slow() {
	b := &c.brake
	if c.loop.now-b.from >= brakeEvery {
		b.from, b.took, b.wakes = c.loop.now, 0, 0
	}
	b.wakes++
	if c.sock == nil || b.on || b.took < brakeBytes && b.wakes < brakeWakes {
		return
	}
	b.on = true
	c.loop.forget(c.sock.FD(), c.key)
	if b.timer == nil {
		b.timer = newTimer(c.goOn)
	}
	c.loop.schedule(b.timer, b.from+brakeEvery)
}

// goOn reads again.
func (c *client) goOn() {
	c.brake.on = false
	var err error
	if c.key, err = c.loop.watch(c.sock.FD(), c.wants(), c.handle); err != nil {
		c.fail(outcome(err), err)
	}
}

// release takes the brake's timer out.
func (c *client) release() {
	c.brake.on = false
	if c.brake.timer != nil {
		c.loop.schedule(c.brake.timer, never)
	}
}
