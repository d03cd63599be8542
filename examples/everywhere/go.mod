module everywhere

go 1.19
