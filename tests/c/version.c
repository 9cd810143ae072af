/* The least that a program can do with planrt. */
#include <planrt.h>
#include <stdio.h>

int main(void) {
    printf("planrt %s\n", planrt_version());
    return 0;
}
