package ipc

import (
	"slices"
	"sync"
	"time"
)

// Limits bound how many connections are open at once. Zero fields have the
// defaults.
type Limits struct {
	User  int // of one user: 8
	Users int // of all users but root: 48
	Total int // 64; what is above Users is kept free for root
}

func (l Limits) orDefault() Limits {
	if l.User == 0 {
		l.User = 8
	}
	if l.Users == 0 {
		l.Users = 48
	}
	if l.Total == 0 {
		l.Total = 64
	}
	return l
}

// share is whose connections are counted together: a user's, or those of all
// who have no login here. The latter may be one user in disguise: with a user
// namespace he has the 65536 uids of subuid(5).
type share struct {
	uid      uint32
	stranger bool
}

// gate counts connections. Who has not said yet what he wants makes room for
// who comes: a client that hangs or dribbles keeps a place only while nobody
// needs it.
type gate struct {
	limits Limits

	mu      sync.Mutex
	held    map[share]int
	users   int       // connections of all but root
	total   int       //
	waiting []*caller // whose request is not there yet; the oldest first
}

// admit gives c a place, or reports that there is none. Whom it evicts is
// returned, for the caller to hang up on: his place counts as free already.
func (g *gate) admit(c *caller) (evicted *caller, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	root := c.uid == 0
	full := func() bool {
		return g.total >= g.limits.Total || !root && (g.users >= g.limits.Users || g.held[c.share] >= g.limits.User)
	}
	if full() {
		evicted = g.evict(c)
		if full() {
			return evicted, false
		}
	}
	c.placed = true
	g.count(c, 1)
	g.waiting = append(g.waiting, c)
	return evicted, true
}

// evict takes the place of the caller that has waited longest: of the same
// share if that is full; of root's none for others.
func (g *gate) evict(newcomer *caller) *caller {
	own := newcomer.uid != 0 && g.held[newcomer.share] >= g.limits.User
	for _, c := range g.waiting {
		if own && c.share == newcomer.share || !own && (newcomer.uid == 0 || c.uid != 0) {
			g.release(c)
			return c
		}
	}
	return nil
}

// spoke: the request of c is there. Reports false if c was evicted meanwhile.
func (g *gate) spoke(c *caller) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(c)
	return c.placed
}

// leave gives the place of c back, and reports whether it still had one: whoever
// evicted it hangs up on it.
func (g *gate) leave(c *caller) (had bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	had = c.placed
	g.release(c)
	return had
}

func (g *gate) release(c *caller) {
	if !c.placed {
		return
	}
	c.placed = false
	g.forget(c)
	g.count(c, -1)
}

func (g *gate) forget(c *caller) {
	if i := slices.Index(g.waiting, c); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
}

func (g *gate) count(c *caller, by int) {
	g.total += by
	if c.uid != 0 {
		g.users += by
	}
	if g.held[c.share] += by; g.held[c.share] == 0 {
		delete(g.held, c.share) // uids are many
	}
}

// acquaintances remember for a moment who has a login here: whoever floods the
// socket must not have that looked up each time.
type acquaintances struct {
	since time.Time
	has   map[uint32]bool
}

// At most this many, for that long.
const (
	maxAcquaintances = 1024
	acquainted       = time.Second
)

func (a *acquaintances) knows(uid uint32, ask func(uint32) bool) bool {
	if now := time.Now(); a.has == nil || len(a.has) >= maxAcquaintances || now.Sub(a.since) >= acquainted {
		a.since, a.has = now, map[uint32]bool{}
	}
	has, said := a.has[uid]
	if !said {
		has = ask(uid)
		a.has[uid] = has
	}
	return has
}
