/*
 * rival: the design of the first xexit, to compare with. One process a display:
 * Xlib with threads, one that asks the server every few seconds and one that
 * waits for events, and an I/O error handler that runs the program. A question
 * that stays unanswered for too long runs it too.
 *
 *     rival INTERVAL PATIENCE PROGRAM [ARG...]     (seconds; $DISPLAY)
 *
 * Prints "open" once it is connected.
 */
#include <X11/Xlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static Display *display;
static unsigned interval, patience;
static char **program;

static void run(int sig) {
  sigset_t none;
  (void)sig;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execv(program[0], program);
  _exit(127);
}

static int broken(Display *d) {
  (void)d;
  run(0);
  return 0;
}

static int refused(Display *d, XErrorEvent *e) {
  (void)d;
  (void)e;
  return 0; /* an answer like any other */
}

static void *ping(void *arg) {
  (void)arg;
  for (;;) {
    alarm(patience);
    XSync(display, False);
    alarm(0);
    sleep(interval);
  }
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t thread;
  XEvent event;

  if (argc < 4) return 2;
  interval = atoi(argv[1]);
  patience = atoi(argv[2]);
  program = argv + 3;
  if (!XInitThreads()) return 1;
  XSetIOErrorHandler(broken);
  XSetErrorHandler(refused);
  signal(SIGALRM, run);
  if (!(display = XOpenDisplay(NULL))) {
    fprintf(stderr, "rival: cannot open display\n");
    return 1;
  }
  puts("open");
  fflush(stdout);
  if (pthread_create(&thread, NULL, ping, NULL)) return 1;
  for (;;) XNextEvent(display, &event);
}
