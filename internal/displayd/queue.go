package displayd

import (
	"context"
	"sync"
)

// queue holds what one goroutine has for another one, without making it wait.
type queue[T any] struct {
	more chan struct{} // holds one if there may be something
	most int

	mu     sync.Mutex
	items  []T
	closed bool
}

func newQueue[T any](most int) *queue[T] {
	return &queue[T]{more: make(chan struct{}, 1), most: most}
}

// put reports whether there was room.
func (q *queue[T]) put(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items) >= q.most {
		return false
	}
	q.items = append(q.items, item)
	q.signal()
	return true
}

func (q *queue[T]) signal() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// take waits for the next item; false: ctx is over.
func (q *queue[T]) take(ctx context.Context) (item T, ok bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			item = q.items[0]
			if q.items = q.items[1:]; len(q.items) == 0 {
				q.items = nil
			} else {
				q.signal()
			}
			q.mu.Unlock()
			return item, true
		}
		q.mu.Unlock()
		select {
		case <-q.more:
		case <-ctx.Done():
			return item, false
		}
	}
}

// close takes no more, and returns what nobody has taken.
func (q *queue[T]) close() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.items
	q.items, q.closed = nil, true
	return left
}
