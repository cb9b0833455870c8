/* Nothing is wrong with it. */
#include "far_end.h"

int main(int argc, char **argv) {
    return argc == 2 ? run(argv[1], echo) : 2;
}
