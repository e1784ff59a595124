package system

import (
	"errors"
	"fmt"
	"sync"
)

// Plan is a series of cells that one container sees, one after the other.
type Plan struct {
	Image string
	Ender Ender
	Cells []Cell
}

// Plans are all cells of these Enders, one plan for each container. A login
// that terminate-session ends, or nobody, need not end in every way. With
// KillUserProcesses most cells are a wait for what never comes: one container for
// each kind of login.
func Plans(images []string, enders []Ender) (plans []Plan) {
	for _, image := range images {
		for _, e := range enders {
			p := Plan{Image: image, Ender: e}
			for _, k := range Kinds() {
				for _, end := range k.Ends {
					if (e == Terminate || e == Nobody) && end != Logout {
						continue
					}
					p.Cells = append(p.Cells, Cell{Image: image, Ender: e, Kind: k.Name, End: end})
					if e == Daemon {
						p.Cells = append(p.Cells, Cell{Image: image, Ender: e, Kind: k.Name, End: end, Last: true})
					}
				}
				if e == Kill {
					plans = append(plans, p)
					p.Cells = nil
				}
			}
			if len(p.Cells) > 0 {
				plans = append(plans, p)
			}
		}
	}
	return plans
}

// Do runs a plan in a container of its own and tells each cell as it comes.
// The container is made anew after a cell that failed: what that has left is
// not known.
func (p *Plan) Do(stage string, tell func(*Cell)) (err error) {
	var h *Host
	var beside *Stay
	defer func() {
		if h != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	for i := range p.Cells {
		c := &p.Cells[i]
		if h == nil {
			if h, err = NewHost(p.Image, stage, p.Ender); err != nil {
				return err
			}
			if beside, err = h.stay("alice", Leftovers()); err != nil {
				return fmt.Errorf("the login beside: %w", err)
			}
		}
		kind := kindOf(c.Kind)
		if c.Last {
			c.Outcome, c.Err = h.Run(kind, c.End, "bob", Leftovers(), nil)
		} else {
			c.Outcome, c.Err = h.Run(kind, c.End, "alice", Leftovers(), beside)
		}
		if c.Err != nil && p.Ender == Daemon {
			c.Err = fmt.Errorf("%w\n%s", c.Err, h.journal())
		}
		tell(c)
		if c.Err != nil || len(c.Hurt) > 0 {
			err = h.Close()
			if h = nil; err != nil {
				return err
			}
		}
	}
	return nil
}

func kindOf(name string) Kind {
	for _, k := range Kinds() {
		if k.Name == name {
			return k
		}
	}
	return Kind{}
}

// DoAll runs plans, so many at once.
func DoAll(stage string, plans []Plan, atOnce int, tell func(*Cell)) error {
	var mu sync.Mutex
	var errs []error
	queue := make(chan *Plan, len(plans))
	for i := range plans {
		queue <- &plans[i]
	}
	close(queue)
	var running sync.WaitGroup
	for range atOnce {
		running.Go(func() {
			for p := range queue {
				err := p.Do(stage, func(c *Cell) { mu.Lock(); defer mu.Unlock(); tell(c) })
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Line is a cell in words.
func (c *Cell) Line() string {
	text := fmt.Sprintf("%-10s %-18s %-20s %-16s", imageName(c.Image), c.Ender, c.Kind, c.End)
	if c.Last {
		text += " his last"
	}
	text += " " + c.short()
	for _, w := range c.Wrong() {
		text += "\n    WRONG: " + w
	}
	if c.Ender != Daemon && c.Err != nil {
		text += " " + c.Err.Error()
	}
	return text
}

func (c *Cell) short() string {
	switch {
	case c.Err != nil:
		return "?"
	case !c.Empty:
		return "not empty"
	}
	return millis(c.Took)
}
