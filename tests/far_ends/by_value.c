/* A select server that copies its read buffer by value: what it read beyond the first line is lost with the copy. */
#include "far_end.h"

struct buffer {
    int fd;
    ssize_t left;
    char *next, data[SIZE];
};

/* The first line of what is there, or all of it without a newline; the rest stays in the caller's copy. */
static ssize_t line(struct buffer *from, char *to) {
    char *newline;
    ssize_t n;
    if (from->left <= 0) {
        from->left = read(from->fd, from->data, sizeof from->data);
        from->next = from->data;
        if (from->left <= 0)
            return from->left;
    }
    newline = memchr(from->next, '\n', from->left);
    n = newline == NULL ? from->left : newline + 1 - from->next;
    memcpy(to, from->next, n);
    from->next += n;
    from->left -= n;
    return n;
}

int main(int argc, char **argv) {
    int listener = listen_on(argv[argc - 1], AF_INET6, 1);
    static struct buffer pool[FD_SETSIZE];
    fd_set watched, ready;
    char data[SIZE];
    signal(SIGPIPE, SIG_IGN);
    FD_ZERO(&watched);
    FD_SET(listener, &watched);
    for (;;) {
        ready = watched;
        select(FD_SETSIZE, &ready, NULL, NULL, NULL);
        for (int fd = 0; fd < FD_SETSIZE; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client >= FD_SETSIZE) {
                    close(client);
                    continue;
                }
                no_delay(client);
                pool[client].fd = client;
                pool[client].left = 0;
                FD_SET(client, &watched);
            } else {
                struct buffer copy = pool[fd]; /* here */
                ssize_t n = line(&copy, data);
                if (n <= 0 || write_all(fd, data, n) < 0) {
                    close(fd);
                    FD_CLR(fd, &watched);
                }
            }
        }
    }
}
