/* An echo that reads on while it writes: what is not yet written is in a queue of *limit* bytes, or of any number. */
#include "far_end.h"
#include <fcntl.h>

/* *drop* at the end of file what is in the queue. */
static inline void queueing(int fd, size_t limit, int drop) {
    size_t room = limit ? limit : SIZE, held = 0, start = 0;
    char *data = malloc(room);
    int ended = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (!ended || held > 0) {
        struct pollfd watched = {fd, 0, 0};
        ssize_t n;
        if (start > 0 && start + held == room) {
            memmove(data, data + start, held);
            start = 0;
        }
        if (!limit && start + held == room)
            data = realloc(data, room *= 2);
        watched.events = (!ended && start + held < room ? POLLIN : 0) | (held > 0 ? POLLOUT : 0);
        poll(&watched, 1, -1);
        if (watched.revents & POLLOUT && (n = write(fd, data + start, held)) > 0) {
            start += n;
            held -= n;
        }
        if (watched.events & POLLIN && watched.revents & (POLLIN | POLLHUP | POLLERR)) {
            n = read(fd, data + start + held, room - start - held);
            if (n == 0 && drop)
                break;
            if (n < 0 && errno != EAGAIN)
                break;
            ended = n == 0;
            held += n > 0 ? n : 0;
        } else if (watched.revents & POLLERR) {
            break;
        }
        if (held == 0)
            start = 0;
    }
    free(data);
}
