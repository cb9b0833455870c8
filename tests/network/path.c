/* A network path between two namespaces: packets that enter one end leave the other, later, in another order, or not at all.
 *
 *     path NAMESPACE NAMESPACE [delay=SECONDS] [late=SHARE] [by=SECONDS] [loss=SHARE] [cut=SECONDS] [for=SECONDS] [seed=N]
 *
 * Each end is a TUN device "path" in its namespace (/run/netns/NAME). delay: each way. late, by: a share of the packets is
 * delayed by so much more, which puts them out of order. loss: a share that is dropped. cut, for: from so many seconds after
 * the start on, and for so long, everything is dropped. It prints a line when both devices are there, and runs until it is
 * ended. sch_netem would do this where the kernel has it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PACKET = 2048, MOST = 1 << 15 };

struct packet {
    double due;
    unsigned long number;
    int length;
    unsigned char data[PACKET];
};

struct queue { /* a heap: the packet that is due first is at 0 */
    struct packet *packets[MOST];
    int n;
};

static double delay_, late, by, loss, cut, cut_for;
static unsigned long numbers;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int before(const struct packet *a, const struct packet *b) {
    return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static void put(struct queue *q, struct packet *p) {
    int i = q->n++;
    for (; i > 0 && before(p, q->packets[(i - 1) / 2]); i = (i - 1) / 2)
        q->packets[i] = q->packets[(i - 1) / 2];
    q->packets[i] = p;
}

static struct packet *take(struct queue *q) {
    struct packet *first = q->packets[0], *last = q->packets[--q->n];
    int i = 0, child;
    while ((child = 2 * i + 1) < q->n) {
        if (child + 1 < q->n && before(q->packets[child + 1], q->packets[child]))
            child++;
        if (!before(q->packets[child], last))
            break;
        q->packets[i] = q->packets[child];
        i = child;
    }
    q->packets[i] = last;
    return first;
}

static int device(const char *namespace) {
    char name[200];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd;
    snprintf(name, sizeof name, "/run/netns/%s", namespace);
    fd = open(name, O_RDONLY);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
        perror(name);
        exit(1);
    }
    close(fd);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    strcpy(request.ifr_name, "path");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        perror("/dev/net/tun");
        exit(1);
    }
    return fd;
}

static void set(const char *word) {
    const char *names[] = {"delay", "late", "by", "loss", "cut", "for"};
    double *values[] = {&delay_, &late, &by, &loss, &cut, &cut_for};
    const char *equals = strchr(word, '=');
    if (equals && !strncmp(word, "seed=", 5)) {
        srand48(atol(equals + 1));
        return;
    }
    for (int i = 0; equals && i < 6; i++)
        if (strlen(names[i]) == (size_t)(equals - word) && !strncmp(word, names[i], equals - word)) {
            *values[i] = atof(equals + 1);
            return;
        }
    fprintf(stderr, "%s?\n", word);
    exit(2);
}

int main(int argc, char **argv) {
    static struct queue queues[2]; /* [0]: from the first end to the second */
    struct pollfd ends[2] = {{.events = POLLIN}, {.events = POLLIN}};
    double began;
    if (argc < 3)
        return 2;
    srand48(7);
    for (int i = 3; i < argc; i++)
        set(argv[i]);
    for (int i = 0; i < 2; i++)
        ends[i].fd = device(argv[1 + i]);
    puts("ready");
    fflush(stdout);
    began = now();
    for (;;) {
        double wait = 1, t = now();
        for (int i = 0; i < 2; i++) {
            struct queue *q = &queues[i];
            while (q->n && q->packets[0]->due <= t) {
                struct packet *p = take(q);
                if (write(ends[1 - i].fd, p->data, p->length) < 0) {
                } /* the device is down: lost, as on any link */
                free(p);
            }
            if (q->n && q->packets[0]->due - t < wait)
                wait = q->packets[0]->due - t;
        }
        struct timespec left = {(time_t)wait, (long)((wait - (time_t)wait) * 1e9)};
        ppoll(ends, 2, &left, NULL);
        t = now();
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 64; k++) {
                struct packet *p = malloc(sizeof *p);
                int is_cut = cut_for > 0 && t - began >= cut && t - began < cut + cut_for;
                p->length = read(ends[i].fd, p->data, PACKET);
                if (p->length <= 0) {
                    free(p);
                    break;
                }
                if (is_cut || queues[i].n == MOST || drand48() < loss) {
                    free(p);
                    continue;
                }
                p->due = t + delay_ + (drand48() < late ? by : 0);
                p->number = numbers++;
                put(&queues[i], p);
            }
    }
}
