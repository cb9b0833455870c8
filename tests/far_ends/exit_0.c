/* Says that it cannot listen, and ends as if all were well. */
#include "far_end.h"

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    thread_each(listen_on(argv[argc - 1], AF_INET6, 0), echo);
}
