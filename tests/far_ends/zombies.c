/* A process for each client, and nobody waits for them. */
#include "far_end.h"

int main(int argc, char **argv) {
    process_each(listen_on(argv[argc - 1], AF_INET6, 1), 1);
}
