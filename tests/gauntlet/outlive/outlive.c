/*
 * outlive: what programs do to outlive a session, as far as a line of shell
 * cannot do it. The control runs of the gauntlet prove each way: it outlives a
 * logout. In C, since half of the ways fork, or lose threads, without exec.
 *
 *	outlive WAY READY [ARG...]    become WAY, then create the file READY
 *
 * Whatever it starts is bounded in number, and everything ends by itself after
 * LIFE seconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIFE = 120, BOMB_LIFE = 30, MOST_PROCESSES = 500 };

static const char *ready_file;
static char **rest; /* the further arguments */

static void fail(const char *what)
{
	fprintf(stderr, "outlive: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void ready(void)
{
	int fd = open(ready_file, O_CREAT | O_WRONLY, 0666);
	if (fd < 0)
		fail(ready_file);
	close(fd);
}

static void deaf(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void nap(double seconds)
{
	struct timespec t = { (time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9) };
	nanosleep(&t, NULL);
}

static void stay(void)
{
	double end = now() + LIFE;
	while (now() < end)
		nap(1);
	exit(3);
}

static pid_t child(void)
{
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	return pid;
}

static void way_stay(void) { ready(); stay(); }
static void way_deaf(void) { deaf(); ready(); stay(); }

/* A daemon: in a session of its own, its parent gone. */
static void way_double_fork(void)
{
	if (child())
		exit(0);
	setsid();
	if (child())
		_exit(0);
	way_deaf();
}

/* An interactive shell, which ignores TERM, on a terminal that a deaf process holds. */
static void way_shell_on_pty(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master))
		fail("pty");
	if (child() == 0) {
		setsid();
		int slave = open(ptsname(master), O_RDWR);
		if (slave < 0)
			fail("slave");
		dup2(slave, 0), dup2(slave, 1), dup2(slave, 2);
		close(master);
		execl("/bin/bash", "bash", "--norc", "-i", NULL);
		fail("bash");
	}
	deaf();
	char byte;
	if (read(master, &byte, 1) == 1) /* its prompt: it has set its signals */
		ready();
	while (read(master, &byte, 1) > 0)
		;
	stay();
}

static void way_stopped(void) { ready(); raise(SIGSTOP); stay(); }

static void stop_again(int sig) { (void)sig; raise(SIGSTOP); }

/* Answers CONT by stopping itself. */
static void way_stops_again(void)
{
	signal(SIGCONT, stop_again);
	ready();
	for (;;)
		raise(SIGSTOP);
}

/* Has running children, who would be orphans if it went. */
static void way_stopped_parent(void)
{
	for (int i = 0; i < 3; i++)
		if (child() == 0) {
			deaf();
			stay();
		}
	way_stopped();
}

/* Two processes, each of which starts the other anew when it is gone. */
static void watchdogs(int is_deaf)
{
	pid_t other = 0;
	if (is_deaf)
		deaf();
	for (int turn = 0; turn < 300; turn++) {
		pid_t me = getpid();
		while (other && kill(other, 0) == 0 && waitpid(other, NULL, WNOHANG) != other)
			nap(0.002);
		other = child();
		if (other == 0) {
			setsid();
			other = me; /* and watches from here on itself */
			if (turn == 0)
				ready();
		}
	}
	exit(0);
}

static void way_watchdogs(void) { watchdogs(0); }
static void way_deaf_watchdogs(void) { watchdogs(1); }

/* Executes itself anew each millisecond, with ever new environments. */
static void way_exec_chain(void)
{
	char until[32], turn[32], self[4096];
	deaf(); /* what is ignored stays ignored (execve(2)) */
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		fail("readlink");
	self[n] = 0;
	double end = rest[0] ? atof(rest[0]) : now() + LIFE;
	if (!rest[0])
		ready();
	if (now() > end)
		exit(3);
	nap(0.001);
	snprintf(until, sizeof until, "%f", end);
	snprintf(turn, sizeof turn, "TURN=%f", now());
	char *argv[] = { "outlive", "exec-chain", (char *)ready_file, until, NULL };
	char *env[] = { turn, NULL };
	execve(self, argv, env);
	fail("execve");
}

/* Wipes the memory that /proc/PID/environ shows, as title-setting programs do. */
static void way_overwritten(void)
{
	extern char **environ;
	for (char **e = environ; *e; e++)
		memset(*e, 'x', strlen(*e));
	way_deaf();
}

static void way_non_dumpable(void) { prctl(PR_SET_DUMPABLE, 0); way_deaf(); }
static void way_name(void) { prctl(PR_SET_NAME, ") S 1 (x) R"); way_deaf(); }

static void *thread(void *arg) { (void)arg; stay(); return NULL; }

static void start_threads(int n)
{
	pthread_attr_t attr;
	pthread_t t;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	while (n--)
		if (pthread_create(&t, &attr, thread, NULL))
			fail("pthread_create");
}

static void way_threads(void) { start_threads(200); way_deaf(); }

static void *outlived(void *arg)
{
	char path[64], line[256];
	(void)arg;
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
	for (;;) { /* until the first thread is a zombie */
		FILE *f = fopen(path, "r");
		if (f && fgets(line, sizeof line, f) && strstr(line, ") Z "))
			break;
		if (f)
			fclose(f);
		nap(0.001);
	}
	ready();
	stay();
	return NULL;
}

/* Its first thread is gone, others live on. */
static void way_dead_leader(void)
{
	pthread_t t;
	deaf();
	if (pthread_create(&t, NULL, outlived, NULL))
		fail("pthread_create");
	syscall(SYS_exit, 0);
}

/* Traces a child, which stays in its stop. */
static void way_tracer(void)
{
	deaf();
	pid_t traced = child();
	if (traced == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		stay();
	}
	if (waitpid(traced, NULL, 0) != traced)
		fail("waitpid");
	way_stay();
}

/* Waits in the kernel for a child that neither executes nor exits. */
static void way_vfork(void)
{
	deaf();
	ready();
	if (vfork() == 0)
		for (;;)
			pause();
	stay();
}

/* Takes in the orphans of what it starts. */
static void way_subreaper(void)
{
	deaf();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (child() == 0)
		way_double_fork();
	for (;;) {
		if (wait(NULL) < 0)
			nap(1);
	}
}

static void way_spin(void)
{
	deaf();
	ready();
	for (double end = now() + LIFE; now() < end;)
		;
	exit(3);
}

static void way_hog(void)
{
	size_t size = 512u << 20;
	deaf();
	char *memory = malloc(size);
	if (!memory)
		fail("malloc");
	memset(memory, 1, size);
	ready();
	for (double end = now() + LIFE; now() < end;)
		for (size_t i = 0; i < size; i += 4096)
			memory[i]++;
	exit(3);
}

static void way_open_files(void)
{
	struct rlimit l = { 10100, 10100 };
	if (setrlimit(RLIMIT_NOFILE, &l))
		fail("setrlimit");
	for (int i = 0; i < 10000; i++)
		if (open("/dev/null", O_RDONLY) < 0)
			fail("open");
	way_deaf();
}

/* Started as root, becomes the user UID: part of its environment is in a page
 * that somebody else would have to deliver, and does not. Whoever reads it waits. */
static void way_blocked_environ(void)
{
	extern char **environ;
	size_t page = sysconf(_SC_PAGESIZE);
	deaf();
	if (!getenv("BIG")) { /* an environment of several pages */
		char *big = malloc(4 * page + 5), self[4096];
		memset(big, 'x', 4 * page + 4);
		memcpy(big, "BIG=", 4);
		big[4 * page + 4] = 0;
		char *argv[] = { "outlive", "blocked-environ", (char *)ready_file, rest[0], NULL };
		char *env[] = { big, NULL };
		ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
		if (n < 0)
			fail("readlink");
		self[n] = 0;
		execve(self, argv, env);
		fail("execve");
	}
	char *memory = (char *)(((unsigned long)environ[0] + 2 * page) / page * page);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0)
		fail("userfaultfd");
	struct uffdio_api api = { .api = UFFD_API };
	if (ioctl(fd, UFFDIO_API, &api))
		fail("UFFDIO_API");
	struct uffdio_register r = { .range = { (unsigned long)memory, page }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	uid_t uid = atoi(rest[0]);
	if (ioctl(fd, UFFDIO_REGISTER, &r))
		fail("UFFDIO_REGISTER");
	if (setgroups(0, NULL) || setgid(uid) || setuid(uid) || prctl(PR_SET_DUMPABLE, 1))
		fail("setuid");
	ready();
	if (madvise(memory, page, MADV_DONTNEED))
		fail("madvise");
	stay();
}

/* Twenty zombies, for as long as it lives. */
static void way_never_reaps(void)
{
	deaf();
	for (int i = 0; i < 20; i++)
		if (child() == 0)
			_exit(0);
	way_stay();
}

/* Asks a file system whose server does not answer. */
static void way_hung(void)
{
	struct stat st;
	deaf();
	ready();
	stat(rest[0], &st);
	fail("the file system answered");
}

static double bomb_end;

/* A bomb is ready when it has gone off: who ends it early has an easier time. */
static void arm(void)
{
	struct rlimit l;
	deaf();
	signal(SIGCHLD, SIG_IGN);
	/* What the user has elsewhere counts too, in other containers even: the
	 * first limit that lets one more be born says how many that is. */
	if (getrlimit(RLIMIT_NPROC, &l))
		fail("getrlimit");
	for (l.rlim_cur = 16;; l.rlim_cur += 16) {
		if (l.rlim_cur + MOST_PROCESSES >= l.rlim_max || setrlimit(RLIMIT_NPROC, &l))
			fail("setrlimit");
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid > 0)
			break;
	}
	l.rlim_cur += MOST_PROCESSES;
	l.rlim_max = l.rlim_cur;
	if (setrlimit(RLIMIT_NPROC, &l))
		fail("setrlimit");
	bomb_end = now() + BOMB_LIFE;
}

/* Each process forks its successor and is gone. */
static void chain(double pause)
{
	while (now() < bomb_end) {
		pid_t pid = fork();
		if (pid > 0)
			_exit(0);
		if (pause > 0)
			nap(pause);
		else if (pid < 0)
			sched_yield();
	}
	_exit(0);
}

/* The processes of a bomb start to breed at the same time: the last of them
 * would hardly be born beside the first. */
static int fuse[2];

static void lay(void)
{
	if (pipe(fuse))
		fail("pipe");
}

static void await_fire(void)
{
	char none;
	close(fuse[1]);
	if (read(fuse[0], &none, 1)) /* its end, when nobody holds the other side */
		fail("read");
	close(fuse[0]);
}

static void chains(double pause)
{
	arm();
	lay();
	for (int i = 0; i < 300; i++)
		if (fork() == 0) {
			await_fire();
			chain(pause);
		}
	ready();
	_exit(0);
}

static void way_bomb_chains(void) { chains(0.05); }
static void way_bomb_fast(void) { chains(0); }

/* Fifty processes, each of which makes a daemon a millisecond, that live a while. */
static void way_bomb_daemons(void)
{
	arm();
	lay();
	for (int i = 0; i < 50; i++)
		if (fork() == 0) {
			await_fire();
			while (now() < bomb_end) {
				if (fork() == 0) {
					setsid();
					if (fork() == 0)
						nap(0.2);
					_exit(0);
				}
				nap(0.001);
			}
			_exit(0);
		}
	ready();
	_exit(0);
}

/* As many as may be; a gap is filled at once. */
static void way_bomb_fill(void)
{
	arm();
	while (now() < bomb_end)
		if (fork() < 0) {
			ready();
			nap(0.001);
		}
	_exit(0);
}

static const struct { const char *name; void (*be)(void); } ways[] = {
	{ "stay", way_stay }, { "deaf", way_deaf }, { "double-fork", way_double_fork },
	{ "shell-on-pty", way_shell_on_pty }, { "stopped", way_stopped }, { "stops-again", way_stops_again },
	{ "stopped-parent", way_stopped_parent }, { "watchdogs", way_watchdogs }, { "deaf-watchdogs", way_deaf_watchdogs },
	{ "exec-chain", way_exec_chain }, { "overwritten", way_overwritten }, { "non-dumpable", way_non_dumpable },
	{ "name", way_name }, { "threads", way_threads }, { "dead-leader", way_dead_leader }, { "tracer", way_tracer },
	{ "vfork", way_vfork }, { "subreaper", way_subreaper }, { "spin", way_spin }, { "hog", way_hog },
	{ "open-files", way_open_files }, { "blocked-environ", way_blocked_environ }, { "never-reaps", way_never_reaps },
	{ "hung", way_hung }, { "bomb-chains", way_bomb_chains }, { "bomb-fast", way_bomb_fast },
	{ "bomb-daemons", way_bomb_daemons }, { "bomb-fill", way_bomb_fill },
};

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: outlive WAY READY [ARG...]\n");
		return 2;
	}
	ready_file = argv[2];
	rest = argv + 3;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		if (strcmp(ways[i].name, argv[1]) == 0) {
			ways[i].be();
			return 0;
		}
	fprintf(stderr, "outlive: no way %s\n", argv[1]);
	return 2;
}
