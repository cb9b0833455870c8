/* A process for each client, whose parent forgets to close its copy of the descriptor: no FIN is ever sent. */
#include "far_end.h"

int main(int argc, char **argv) {
    signal(SIGCHLD, SIG_IGN); /* the children are waited for by the kernel */
    process_each(listen_on(argv[argc - 1], AF_INET6, 1), 0);
}
