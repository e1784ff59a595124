// Package logins is all that tells of a host's logins, as one source: logind,
// and the PAM hook for what logind does not have. What a login is, and what
// becomes of it, does not belong here.
package logins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/member"
	"xexit/internal/pamlogin"
)

// Source tells of some of a host's logins; see All for what each method does.
type Source interface {
	Watch(ctx context.Context, changed func(id string)) error
	List() ([]member.Login, error)
	Read(id string) (member.Login, error)
}

// All is several sources as one. No two of them have a login of the same id.
type All []Source

// Of is the sources of a host: root of its file system, root of its proc(5).
// trouble hears, beside Watch, that logind's bus cannot be listened to, and
// may be nil. A host without a unified control group hierarchy has no logins
// of the PAM hook's.
func Of(root, proc string, trouble func(error)) (All, error) {
	all := All{logind.Source{Root: root, Trouble: trouble}}
	tree, err := cgroup.Mounted(proc)
	if errors.Is(err, cgroup.ErrNoHierarchy) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	return append(all, pamlogin.Source{Root: root, Tree: tree}), nil
}

// Watch subscribes, then calls changed("") (list everything), then changed(id)
// when a login opened, changed or went; once more "" when anything may have
// happened. It calls changed from the caller's goroutine. It returns nil when
// ctx is over, or an error as soon as one of the sources cannot watch.
func (a All) Watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(ctx)
	told, ended := make(chan string), make(chan error, len(a))
	for _, s := range a {
		go func() {
			ended <- s.Watch(ctx, func(id string) {
				select {
				case told <- id:
				case <-ctx.Done():
				}
			})
		}()
	}
	var err error
	for left := len(a); left > 0; {
		select {
		case id := <-told:
			if ctx.Err() == nil {
				changed(id)
			}
		case e := <-ended:
			err = errors.Join(err, e)
			left--
			cancel() // without one of them logins would be missed
		}
	}
	cancel()
	return err
}

// List is what is known now. With an error it is not whole.
func (a All) List() (list []member.Login, err error) {
	for _, s := range a {
		more, e := s.List()
		list, err = append(list, more...), errors.Join(err, e)
	}
	return list, err
}

// Read is what is known of one login now. fs.ErrNotExist: there is none of
// that id.
func (a All) Read(id string) (member.Login, error) {
	for _, s := range a {
		l, err := s.Read(id)
		if !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
	}
	return member.Login{}, fmt.Errorf("read login %q: %w", id, fs.ErrNotExist)
}
