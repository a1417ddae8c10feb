module chango

go 1.19
