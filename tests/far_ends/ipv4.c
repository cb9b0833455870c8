/* Listens on 0.0.0.0, and on nothing else. */
#include "far_end.h"

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    thread_each(listen_on(argv[argc - 1], AF_INET, 1), echo);
}
