module powser1

go 1.19
