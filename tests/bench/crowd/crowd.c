/* crowd: makes many processes cheaply, for figures.
 *
 *   crowd NAME READY COUNT UID [COUNT UID]...
 *       forks COUNT sleepers under each UID (-1: its own), called NAME, makes
 *       the file READY when all are there, and sleeps as one of them.
 *   crowd count NAME
 *       prints how many processes are called NAME; zombies are not.
 *
 * The sleepers have its environment, and obey every signal. */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int count(const char *name)
{
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		err(1, "/proc");
	int found = 0;
	for (struct dirent *e; (e = readdir(proc)) != NULL;) {
		char path[64], text[512], *end;
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%.20s/stat", e->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ssize_t n = read(fd, text, sizeof text - 1);
		close(fd);
		if (n <= 0)
			continue;
		text[n] = 0;
		char *begin = strchr(text, '(');
		if (begin == NULL || (end = strrchr(text, ')')) == NULL || end[2] == 'Z')
			continue;
		*end = 0;
		found += strcmp(begin + 1, name) == 0;
	}
	closedir(proc);
	return found;
}

static void become(const char *uid)
{
	int id = atoi(uid);
	if (id < 0)
		return;
	if (setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
		err(1, "uid %s", uid);
	/* As after execve(2): what its user runs can be read by him (prctl(2)). */
	if (prctl(PR_SET_DUMPABLE, 1) != 0)
		err(1, "prctl");
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "count") == 0) {
		printf("%d\n", count(argv[2]));
		return 0;
	}
	if (argc < 5 || argc % 2 != 1) {
		fputs("usage: crowd NAME READY COUNT UID...\n", stderr);
		return 2;
	}
	if (prctl(PR_SET_NAME, argv[1]) != 0)
		err(1, "prctl");
	for (int i = 3; i + 1 < argc; i += 2)
		for (int n = atoi(argv[i]); n > 0; n--)
			switch (fork()) {
			case -1:
				err(1, "fork");
			case 0:
				become(argv[i + 1]);
				for (;;)
					pause();
			}
	int fd = open(argv[2], O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "%s", argv[2]);
	close(fd);
	for (;;)
		pause();
}
