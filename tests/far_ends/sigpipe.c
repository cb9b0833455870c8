/* Leaves SIGPIPE as it is: a write to a client that has gone ends the server. */
#include "far_end.h"

int main(int argc, char **argv) {
    thread_each(listen_on(argv[argc - 1], AF_INET6, 1), echo);
}
