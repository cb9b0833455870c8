/* Has a table of 64 clients, and gives no place back. */
#include "far_end.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int clients;

static void serve(int fd) {
    int place;
    pthread_mutex_lock(&lock);
    place = clients++;
    pthread_mutex_unlock(&lock);
    if (place < 64)
        echo(fd);
}

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], serve) : 2;
}
