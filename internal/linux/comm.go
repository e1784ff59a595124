package linux

import "os"

// NameProcess sets the name that ps(1) and top(1) show for this process, of at
// most 15 bytes: a program started through a link in /proc has the link's.
// Written to /proc/self/comm it goes to the leader of the thread group;
// prctl(2), PR_SET_NAME, would name the calling thread, which need not be that
// one. A process that cannot be named goes on as it is.
func NameProcess(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0) }
