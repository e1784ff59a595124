package proc

import (
	"fmt"
	"slices"

	"xexit/internal/linux"
)

// beforeFirst is the position in the listing of /proc of the entry before
// process 0: the kernel's proc_pid_readdir puts process N at N+257, behind
// the files that are no processes, and goes on at the first that is not below
// the position. So a listing that starts at from+258 holds only processes
// with greater numbers, whatever became of from itself.
const beforeFirst = 258

// Pids calls visit for every process whose number is greater than from, in
// ascending order. visit may use fs, but not list with it. Its error ends the
// listing and is returned.
//
// The order is part of the bargain: a process that is listed and gone when it
// is read has left its children, if any, at greater numbers, unless the
// numbers wrapped meanwhile (LastPID).
func (fs *FS) Pids(from int, visit func(pid int) error) error {
	return fs.Entries(from, func(pid int, _ uint64) error { return visit(pid) })
}

// Entries is Pids with the inode number of each directory entry. As long as
// it stays the same for a number it is the same process; 1 says nothing.
func (fs *FS) Entries(from int, visit func(pid int, inode uint64) error) error {
	if !fs.real {
		return fs.sortedEntries(from, visit)
	}
	if err := fs.dir.SeekTo(int64(from) + beforeFirst); err != nil {
		return fmt.Errorf("list %s: %w", fs.root, err)
	}
	for {
		n, err := fs.dir.ReadEntries(fs.entries)
		if err != nil {
			return fmt.Errorf("list %s: %w", fs.root, err)
		}
		if n == 0 {
			return nil
		}
		for rest := fs.entries[:n]; ; {
			inode, name, next, ok := linux.NextEntry(rest)
			if !ok {
				break
			}
			rest = next
			pid, ok := parseUint(name)
			if !ok || pid <= uint64(max(from, 0)) || pid > 1<<31-1 {
				continue
			}
			if err := visit(int(pid), inode); err != nil {
				return err
			}
		}
	}
}

// sortedEntries is Entries for a tree that is no proc file system.
func (fs *FS) sortedEntries(from int, visit func(pid int, inode uint64) error) error {
	type entry struct {
		pid   int
		inode uint64
	}
	var found []entry
	if err := fs.dir.SeekTo(0); err != nil {
		return fmt.Errorf("list %s: %w", fs.root, err)
	}
	for {
		n, err := fs.dir.ReadEntries(fs.entries)
		if err != nil {
			return fmt.Errorf("list %s: %w", fs.root, err)
		}
		if n == 0 {
			break
		}
		for rest := fs.entries[:n]; ; {
			inode, name, next, ok := linux.NextEntry(rest)
			if !ok {
				break
			}
			rest = next
			if pid, ok := parseUint(name); ok && pid > uint64(max(from, 0)) && pid < 1<<31 {
				found = append(found, entry{int(pid), inode})
			}
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return a.pid - b.pid })
	for _, e := range found {
		if err := visit(e.pid, e.inode); err != nil {
			return err
		}
	}
	return nil
}
