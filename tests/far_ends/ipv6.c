/* Listens on ::, and turns IPv4 away. */
#include "far_end.h"

int main(int argc, char **argv) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[argc - 1])), .sin6_addr = in6addr_any};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    signal(SIGPIPE, SIG_IGN);
    if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || listen(fd, 1024) < 0)
        return 1;
    thread_each(fd, echo);
}
